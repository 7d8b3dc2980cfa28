//! DWARF expressions in unwind information: stacks that a function realigned, the PLT, signal frames.

use gimli::{EndianSlice, EvaluationResult, Expression, LittleEndian, Location, Value};

use super::Copied;
use super::row::{State, Stuck};

/// Operations carried out at most: expressions have a dozen, and one may jump backwards.
const OPERATIONS_MAX: u32 = 64;

const ENCODING: gimli::Encoding =
    gimli::Encoding { format: gimli::Format::Dwarf32, version: 4, address_size: 8 };

/// What the expression leaves on its stack. `initial` is there at its start.
pub(super) fn evaluate(
    code: &[u8],
    initial: Option<u64>,
    state: &State,
    stack: &Copied<'_>,
) -> Result<u64, Stuck> {
    let expression = Expression(EndianSlice::new(code, LittleEndian));
    let mut evaluation = expression.evaluation(ENCODING);
    evaluation.set_max_iterations(OPERATIONS_MAX);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut result = evaluation.evaluate();
    loop {
        result = match result {
            Ok(EvaluationResult::Complete) => break,
            Ok(EvaluationResult::RequiresRegister { register, .. }) => {
                let value = state.need(register.0)?;
                evaluation.resume_with_register(Value::Generic(value))
            }
            Ok(EvaluationResult::RequiresMemory { address, size, space: None, .. }) => {
                let value = stack.value(address, usize::from(size))?;
                evaluation.resume_with_memory(Value::Generic(value))
            }
            Ok(_) | Err(_) => return Err(Stuck::Rule),
        };
    }
    match evaluation.as_result() {
        [piece] => match piece.location {
            Location::Address { address } => Ok(address),
            Location::Value { value: Value::Generic(value) } => Ok(value),
            _ => Err(Stuck::Rule),
        },
        _ => Err(Stuck::Rule),
    }
}
