//! The command `encrypt-cloud-image deploy`, through the built program; one file a promise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_copy_is_deployed;
mod a_crash_leaves_an_image_that_opens;
mod a_crash_leaves_tokens_that_open;
mod a_crash_while_sealing_again_leaves_an_image_that_opens;
mod a_crash_while_tokens_are_replaced_leaves_one_kind;
mod a_former_life_never_comes_back;
mod a_late_failure_is_told_and_finished;
mod an_interrupted_deploy_is_completed;
mod confined;
mod crashed;
mod deployed_images_are_sealed_again;
mod encrypted;
mod every_choice_of_srk;
mod images_of_other_distributions;
mod only_little_is_read;
mod only_what_is_predicted_is_sealed_to;
mod owners_keys_unlock;
mod recovery_keys_open;
mod resealed;
mod several_configurations_are_sealed_to;
mod systemd_guest;
mod systemd_opens_its_tokens;
mod systemd_takes_recovery_keys;
mod systemd_tries_every_token;
mod the_clear_key_is_gone;
mod the_policy_is_the_prediction;
mod the_report_tells_it_without_secrets;
mod tokens_are_sealed_again;
mod ways_of_other_layouts_are_sealed_to;
mod what_cannot_be_deployed_stays_as_it_is;

#[path = "../predict/data.rs"]
#[allow(dead_code, reason = "parts of it")]
mod data;
#[path = "../support/mod.rs"]
mod support;

use support::all;
