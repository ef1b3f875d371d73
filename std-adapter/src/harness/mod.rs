//! Measuring accuracy: tasks with known answers, and the scores that published results use.

mod python_json;
pub mod snips;
pub mod task;
