//! The pages below `docs` and the README: what they say is what the programs do.

#[path = "../../examples/cli-docs/markdown.rs"]
mod markdown;
#[path = "../support/mod.rs"]
mod support;

mod console;
mod every_command_in_a_page_works;
mod every_help_begins_with_one_short_line;
mod exit_statuses_are_one_table;
mod links_lead_somewhere;
mod options_given_twice;
mod reference_pages_are_what_the_parser_says;
mod the_job_of_the_fleet_is_valid;
