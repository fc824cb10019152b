//! A few rounds of the harness; a hundred are for a person with time: see its README.

use hedwig_harness::{Plan, run};
use hedwig_lab::{Program, Result};

#[tokio::test]
async fn real_daemons_that_are_killed_under_load_account_for_everybody() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-harness"));
    let outcome = run(&program, Plan { rounds: 5, seed: 1 }).await?;
    println!("{outcome}");
    let account = outcome.verdict.expect("the promise was kept");
    assert!(account.accepted > 0 && outcome.kills >= 5);
    assert_eq!(account.accepted, account.sum());
    Ok(())
}
