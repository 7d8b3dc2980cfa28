use proptest::prelude::*;

use super::*;

fn machine(cupti: u32) -> Machine {
    Machine { cupti: Some(cupti), ..Machine::default() }
}

#[test]
fn caps_are_those_of_their_releases_only() {
    let check = |cupti, expected: Option<(Level, &'static str)>| {
        let found = bound(&machine(cupti)).map(|bound| (bound.level, bound.reason));
        let expected = expected.map(|(level, name)| (level, Reason::Quirk(name)));
        assert_eq!(found, expected, "{cupti}");
    };
    check(28, None);
    check(130_000, Some((Level::Watching, "cupti-13.0-disable-deadlock")));
    check(130_001, None);
    check(130_400, Some((Level::Watching, "cupti-13.4-processor-time")));
    check(130_401, None);
    check(0, None);
    check(u32::MAX, None);
}

#[test]
fn stacks_are_off_on_arm_with_gb300() {
    let mut machine = Machine {
        gpus: vec!["NVIDIA A10".into(), "NVIDIA gb300".into()],
        processor: Some(Processor::Arm),
        ..Machine::default()
    };
    let expected = Bound { level: Level::Counting, reason: Reason::Quirk("gb300-uprobes") };
    assert_eq!(bound(&machine), Some(expected));
    machine.processor = Some(Processor::X86);
    assert_eq!(bound(&machine), None);
    machine.processor = None;
    assert_eq!(bound(&machine), None);
}

#[test]
fn nothing_known_is_no_quirk_but_the_one_of_all_versions() {
    let machine = Machine::default();
    assert_eq!(bound(&machine), None);
    let off: Vec<Feature> = features_off(&machine).into_iter().map(|(off, _)| off).collect();
    assert_eq!(off, [Feature::GraphTrace]);
}

#[test]
fn features_are_off_once_each() {
    let check = |machine: &Machine, expected: &[Feature]| {
        let off: Vec<Feature> = features_off(machine).into_iter().map(|(off, _)| off).collect();
        assert_eq!(off, expected, "{machine:?}");
    };
    let old = Machine { driver: Version::parse("550.163.01"), ..machine(22) };
    let off = [
        Feature::Finalize,
        Feature::RefusedBuffers,
        Feature::GraphTrace,
        Feature::SharedSubscription,
    ];
    check(&old, &off);
    let youngest = Machine {
        driver: Version::parse("r610"),
        settings: vec![Setting::Wsl],
        ..machine(130_500)
    };
    check(&youngest, &[Feature::GraphTrace, Feature::HardwareTrace]);
    check(
        &machine(130_299),
        &[Feature::GraphTrace, Feature::SharedSubscription, Feature::CallsWithoutDriver],
    );
}

#[test]
fn every_row_has_a_name_of_its_own_and_a_source() {
    for (index, quirk) in TABLE.iter().enumerate() {
        assert!(quirk.source.len() > 20, "{quirk:?}");
        assert!(TABLE[..index].iter().all(|other| other.name != quirk.name), "{quirk:?}");
    }
}

proptest! {
    /// The bound is the lowest cap of the rows that apply, whatever the machine.
    #[test]
    fn the_lowest_cap_binds(
        driver in "[0-9]{0,3}(\\.[0-9]{0,3}){0,2}",
        cupti in prop::option::of(prop_oneof![0..40u32, 130_000..130_600u32]),
        gpu in "(GB300|B200|H200)?",
        arm: bool,
    ) {
        let processor = if arm { Processor::Arm } else { Processor::X86 };
        let machine = Machine {
            driver: Version::parse(&driver),
            cupti,
            gpus: vec![gpu],
            processor: Some(processor),
            settings: Vec::new(),
        };
        let lowest = TABLE
            .iter()
            .filter(|quirk| quirk.applies(&machine))
            .filter_map(|quirk| match quirk.effect {
                Effect::Cap(level) => Some(level),
                Effect::Off(_) => None,
            })
            .min();
        prop_assert_eq!(bound(&machine).map(|bound| bound.level), lowest);
    }
}
