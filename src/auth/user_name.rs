//! The name of a user: MongoDB keeps users by database, so that one name can stand for several.

use std::fmt;

/// A user's database and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName {
    /// The database that keeps the user (`authSource`); `$external` for users that something else knows.
    pub db: Box<str>,
    /// The name within it.
    pub name: Box<str>,
}

impl UserName {
    /// The user `name` of the database `db`.
    #[must_use]
    pub fn new(db: &str, name: &str) -> Self {
        Self {
            db: db.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for UserName {
    /// `name@db`, as `mongod` writes it in its own messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_with_the_database() {
        assert_eq!(UserName::new("admin", "ann").to_string(), "ann@admin");
    }

    #[test]
    fn equal_names_in_different_databases_are_different_users() {
        assert_ne!(UserName::new("admin", "ann"), UserName::new("shop", "ann"));
    }
}
