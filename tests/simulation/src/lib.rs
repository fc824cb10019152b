#![doc = include_str!("../README.md")]

mod chronicle;
mod clients;
mod host;
mod mailman;
mod names;
mod network;
mod postoffice;
mod receivers;
mod storm;
mod world;

pub mod evidence;
pub mod promise;

pub use world::{Run, run};
