#![doc = include_str!("../README.md")]

mod account;
mod host;
mod mailman;
mod network;
mod postoffice;
mod storm;
mod world;

pub mod chronicle;
pub mod clients;
pub mod evidence;
pub mod names;
pub mod promise;
pub mod receivers;

pub use world::{Run, run};
