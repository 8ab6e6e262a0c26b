//! Azure's description of a disk or an image version.

use firmware::Database;
use firmware::azure;
use firmware::config::Rules;
use firmware::foreign;

use super::told;

pub fn run(input: &[u8]) -> bool {
    let _ = foreign::recognise(input);
    let mut is_read = false;
    for rules in [Rules::Ours, Rules::Reference] {
        match azure::from_json(input, rules) {
            Ok(read) => {
                is_read = true;
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
