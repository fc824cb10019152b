//! A few kills of the harness; a hundred are for a person with time: see its README.

use hedwig_harness::{Plan, run};
use hedwig_lab::{Program, Result};

#[tokio::test]
async fn real_daemons_that_are_killed_under_load_account_for_everybody() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-harness"));
    let outcome = run(&program, Plan { kills: 8, seed: 1 }).await?;
    println!("{outcome}");
    let account = outcome.verdict.expect("the promise was kept");
    assert!(account.accepted > 0 && outcome.troubles.all_kills() >= 8);
    assert_eq!(account.accepted, account.sum());
    Ok(())
}
