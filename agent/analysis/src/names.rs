//! Kernel names, interned across processes and classified once.

use crate::map::HashMap;

use crate::classify::{Classifier, Kind};
use crate::ids::NameId;
use crate::limits::NAMES;

/// What stands for a kernel whose name was not recorded.
const UNNAMED: &str = "[kernel name not recorded]";

/// What a session knows of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: NameId,
    pub(crate) kind: Kind,
    /// A rule matched, or the name is one of our own for copies and sets.
    pub(crate) classified: bool,
}

/// Every name seen, by id.
#[derive(Debug)]
pub(crate) struct Names {
    texts: Vec<String>,
    named: Vec<Named>,
    ids: HashMap<String, NameId>,
    classifier: Classifier,
    unnamed: Named,
    /// Names that found the table full.
    refused: u64,
}

impl Names {
    pub(crate) fn new(classifier: Classifier) -> Self {
        let unnamed = Named { id: NameId(0), kind: Kind::Other, classified: false };
        Self {
            texts: vec![UNNAMED.to_owned()],
            named: vec![unnamed],
            ids: HashMap::from_iter([(UNNAMED.to_owned(), unnamed.id)]),
            classifier,
            unnamed,
            refused: 0,
        }
    }

    /// Names that come from here on are classified by `classifier`.
    pub(crate) fn classify_by(&mut self, classifier: Classifier) {
        self.classifier = classifier;
    }

    /// The stand-in for a name that is missing.
    pub(crate) fn unnamed(&self) -> Named {
        self.unnamed
    }

    /// Names that found the table full.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Interns a kernel's name.
    pub(crate) fn kernel(&mut self, text: String) -> Named {
        if let Some(known) = self.known(&text) {
            return known;
        }
        let matched = self.classifier.classify(&text);
        let kind = matched.as_ref().map_or(Kind::Other, |matched| matched.kind);
        self.add(text, kind, matched.is_some())
    }

    /// Interns one of our own names, such as `[memset]`, of a known kind.
    pub(crate) fn own(&mut self, text: &str, kind: Kind) -> Named {
        self.known(text).unwrap_or_else(|| self.add(text.to_owned(), kind, true))
    }

    fn known(&self, text: &str) -> Option<Named> {
        let id = self.ids.get(text)?;
        self.named.get(usize::try_from(id.0).ok()?).copied()
    }

    fn add(&mut self, text: String, kind: Kind, classified: bool) -> Named {
        let id = u32::try_from(self.texts.len()).ok().filter(|_| self.texts.len() < NAMES);
        let Some(id) = id.map(NameId) else {
            self.refused += 1;
            return self.unnamed;
        };
        let named = Named { id, kind, classified };
        self.ids.insert(text.clone(), id);
        self.texts.push(text);
        self.named.push(named);
        named
    }
}

/// The one name of all copies of a direction, by CUPTI's copyKind.
pub(crate) const fn copy_name(copy_kind: u8) -> &'static str {
    match copy_kind {
        1 => "[memcpy HtoD]",
        2 => "[memcpy DtoH]",
        3 => "[memcpy HtoA]",
        4 => "[memcpy AtoH]",
        5 => "[memcpy AtoA]",
        6 => "[memcpy AtoD]",
        7 => "[memcpy DtoA]",
        8 => "[memcpy DtoD]",
        9 => "[memcpy HtoH]",
        10 => "[memcpy PtoP]",
        _ => "[memcpy]",
    }
}

/// The one name of all sets.
pub(crate) const SET_NAME: &str = "[memset]";

#[cfg(test)]
mod tests {
    use super::{Names, SET_NAME, copy_name};
    use crate::classify::{Classifier, Kind};

    #[test]
    fn a_name_has_one_id_whoever_uses_it() {
        let mut names = Names::new(Classifier::default());
        let first = names.kernel("ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)".into());
        let set = names.own(SET_NAME, Kind::Memset);
        let again = names.kernel("ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)".into());
        assert_eq!(first, again);
        assert_eq!((first.kind, first.classified), (Kind::Nccl, true));
        assert_ne!(first.id, set.id);
        assert_eq!(names.texts()[set.id.0 as usize], SET_NAME);
    }

    #[test]
    fn a_name_no_rule_knows_is_unclassified() {
        let named = Names::new(Classifier::default()).kernel("qzx".into());
        assert_eq!((named.kind, named.classified), (Kind::Other, false));
    }

    #[test]
    fn unknown_copy_directions_share_one_name() {
        assert_eq!(copy_name(8), "[memcpy DtoD]");
        assert_eq!(copy_name(0), copy_name(200));
    }
}
