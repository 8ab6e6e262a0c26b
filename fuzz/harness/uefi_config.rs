//! `uefi-config.json`: what is read is written so that it reads the same, and then stays as it is.

use firmware::Database;
use firmware::UefiConfig;
use firmware::config::Rules;
use firmware::foreign;

use super::told;

pub fn run(input: &[u8]) -> bool {
    let _ = foreign::recognise(input);
    let mut is_read = false;
    for rules in [Rules::Ours, Rules::Reference] {
        match UefiConfig::from_json(input, rules) {
            Ok(read) => {
                is_read = true;
                let text = read.config.to_json();
                let again = UefiConfig::from_json(text.as_bytes(), rules).unwrap();
                assert_eq!(again.config, read.config);
                assert_eq!(again.unknown_members.len(), 0);
                assert_eq!(again.config.to_json(), text);
                for database in Database::ALL {
                    let _ = read.config.lists(database);
                }
            }
            Err(error) => {
                told(&error);
            }
        }
    }
    is_read
}
