//! Measuring accuracy: tasks with known answers, and the scores that published results use.

pub mod closed_form;
pub mod lists;
pub mod oracle;
mod python_json;
pub mod snips;
pub mod task;
