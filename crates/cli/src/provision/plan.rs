//! What a `provision` will do, in lines: all of it for `--dry-run`, the choices before a run.

use crate::deploy::plan as deploy_plan;
use crate::encrypt::plan;
use operations::deploy;
use operations::encrypt::EncryptPlan;

/// What was chosen where there was a choice.
pub fn choices(encrypted: &EncryptPlan, bound: &deploy::DeployPlan) -> String {
    plan::choices(encrypted) + &deploy_plan::binding_choices(bound)
}

/// The whole plan.
pub fn table(encrypted: &EncryptPlan, bound: &deploy::DeployPlan) -> String {
    let mut lines = plan::facts(encrypted);
    lines.extend(deploy_plan::binding_facts(bound));
    plan::aligned(&lines)
        + &deploy_plan::keyslots(bound)
        + &deploy_plan::branches(bound)
        + &plan::where_table(encrypted)
        + &plan::edits(encrypted)
        + &deploy_plan::esp_files(bound)
}
