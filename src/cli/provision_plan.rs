//! What a `provision` will do, in lines: all of it for `--dry-run`, the choices before a run.

use super::{deploy_plan, plan};
use crate::provision::guests::GuestImage;

/// What was chosen where there was a choice.
pub fn choices(image: &GuestImage) -> String {
    plan::choices(image.plan()) + &deploy_plan::binding_choices(image.binding())
}

/// The whole plan.
pub fn table(image: &GuestImage) -> String {
    let (encrypted, bound) = (image.plan(), image.binding());
    let mut lines = plan::facts(encrypted);
    lines.extend(deploy_plan::binding_facts(bound));
    plan::aligned(&lines)
        + &deploy_plan::keyslots(bound)
        + &deploy_plan::branches(bound)
        + &plan::where_table(encrypted)
        + &plan::edits(encrypted)
        + &deploy_plan::esp_files(bound)
}
