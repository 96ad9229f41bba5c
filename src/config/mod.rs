//! The configuration file, resolved to the options of each module.
