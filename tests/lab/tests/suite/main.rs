//! Hedwig among real mail programs: the daemons are processes, and what stands at the other end is not ours.

mod authentication;
mod bounces;
mod clients_and_postfix;
mod clients_and_receiver;
mod deferrals;
mod dependencies;
mod deploy;
mod domain;
mod explanations;
mod front_door_metrics;
mod front_ends;
mod hostile;
mod idempotency;
mod killed_under_load;
mod lost_replies;
mod nothing_is_lost;
mod problems;
mod real_clients;
mod receivers;
mod reports;
mod service_manager;
mod signatures;
mod standards;
mod suppression;
mod unix_socket;
mod verifier;
