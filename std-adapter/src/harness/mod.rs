//! Measuring accuracy: tasks with known answers, and the scores that published results use.
//!
//! | module | what it does |
//! |---|---|
//! | [`task`] | task files: questions, and what is right |
//! | [`snips`] | utterances and JSON frames |
//! | [`lists`], [`oracle`], [`closed_form`] | list tasks on tokens, and what policies must score on them |
//! | [`masks`], [`pieces`] | what is hidden in which forward pass |
//! | [`likelihood`] | the bound on a text's negative log-likelihood |
//! | [`comparison`], [`trajectory`] | two builds of a model, side by side |
//! | [`statistics`] | means, ratios and quantiles with their errors |
//! | [`budget`] | what a user demands of a measurement |

pub mod budget;
pub mod closed_form;
pub mod comparison;
pub mod likelihood;
pub mod lists;
pub mod masks;
pub mod oracle;
pub mod pieces;
mod python_json;
pub mod snips;
pub mod statistics;
pub mod task;
pub mod trajectory;
