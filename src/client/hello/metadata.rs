//! How a client describes itself, in the `client` document of its first `hello`.
//!
//! The rules and their codes are those of a `mongod` 6.0.5 (MongoDB Handshake specification).

use crate::{
    command::ErrorReply,
    wire::{Element, RawDoc},
};

/// The largest document, in bytes.
const LARGEST: usize = 1024;
/// The longest application name, in bytes.
const LONGEST_NAME: usize = 128;

/// What is kept of the description.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::client) struct Metadata {
    /// The driver's name.
    pub(in crate::client) driver: String,
    /// The driver's version.
    pub(in crate::client) version: String,
    /// `appName`, if the application has given itself one.
    pub(in crate::client) application: Option<String>,
}

impl Metadata {
    /// Reads the `client` field of a `hello`.
    ///
    /// # Errors
    /// With the code that a `mongod` answers.
    pub(super) fn read(client: &Element<'_>) -> Result<Self, ErrorReply> {
        let document = client
            .as_doc()
            .ok_or_else(|| mismatch("the client metadata must be a document"))?;
        if document.bytes().len() > LARGEST {
            let message = format!("the client metadata must be at most {LARGEST} bytes long");
            return Err(ErrorReply::invalid_hello(
                185,
                "ClientMetadataDocumentTooLarge",
                message,
            ));
        }
        let application = match field(document, "application")? {
            Some(application) => name_of_application(part(&application)?)?,
            None => None,
        };
        let driver = required_part(document, "driver")?;
        let os = required_part(document, "os")?;
        required_text(os, "os.type")?;
        Ok(Self {
            driver: required_text(driver, "driver.name")?,
            version: required_text(driver, "driver.version")?,
            application,
        })
    }
}

fn mismatch(message: impl Into<String>) -> ErrorReply {
    ErrorReply::invalid_hello(14, "TypeMismatch", message)
}

fn missing(name: &str) -> ErrorReply {
    let message = format!("the client metadata lacks {name}");
    ErrorReply::invalid_hello(183, "ClientMetadataMissingField", message)
}

fn field<'a>(document: RawDoc<'a>, name: &str) -> Result<Option<Element<'a>>, ErrorReply> {
    document
        .get(name)
        .map_err(|error| ErrorReply::invalid_message(&error))
}

fn part<'a>(element: &Element<'a>) -> Result<RawDoc<'a>, ErrorReply> {
    element.as_doc().ok_or_else(|| {
        let name = String::from_utf8_lossy(element.key);
        mismatch(format!("{name} in the client metadata must be a document"))
    })
}

fn required_part<'a>(document: RawDoc<'a>, name: &str) -> Result<RawDoc<'a>, ErrorReply> {
    part(&field(document, name)?.ok_or_else(|| missing(name))?)
}

fn text(element: &Element<'_>, path: &str) -> Result<String, ErrorReply> {
    let bytes = element
        .as_str_bytes()
        .ok_or_else(|| mismatch(format!("{path} in the client metadata must be a string")))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The string at `path`, whose last part is its name in `document`.
fn required_text(document: RawDoc<'_>, path: &str) -> Result<String, ErrorReply> {
    let name = path.rsplit('.').next().unwrap_or(path);
    text(&field(document, name)?.ok_or_else(|| missing(path))?, path)
}

fn name_of_application(application: RawDoc<'_>) -> Result<Option<String>, ErrorReply> {
    let Some(name) = field(application, "name")? else {
        return Ok(None);
    };
    let name = text(&name, "application.name")?;
    if name.len() > LONGEST_NAME {
        let message =
            format!("application.name in the client metadata must be at most {LONGEST_NAME} bytes long");
        return Err(ErrorReply::invalid_hello(
            184,
            "ClientMetadataAppNameTooLarge",
            message,
        ));
    }
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc};

    fn read(client: impl Into<Bson>) -> Result<Metadata, i32> {
        let hello = doc! { "client": client.into() }.to_vec().unwrap();
        let element = RawDoc::prefix(&hello).unwrap().get("client").unwrap().unwrap();
        Metadata::read(&element).map_err(|error| error.code())
    }

    #[test]
    fn descriptions_are_read_or_refused_as_by_a_mongod() {
        let driver = doc! { "name": "d", "version": "1" };
        let os = doc! { "type": "x" };
        let good = doc! { "driver": driver.clone(), "os": os.clone() };
        let with = |name: &str, value: Bson| {
            let mut client = good.clone();
            client.insert(name, value);
            Bson::from(client)
        };
        let named = |name: usize| with("application", doc! { "name": "x".repeat(name) }.into());
        let expected = Metadata {
            driver: "d".into(),
            version: "1".into(),
            application: None,
        };
        assert_eq!(read(good.clone()), Ok(expected));
        assert_eq!(read(named(128)).unwrap().application.unwrap().len(), 128);
        for (client, code) in [
            (Bson::Int32(1), 14),
            (doc! {}.into(), 183),
            (doc! { "os": os.clone() }.into(), 183),
            (doc! { "driver": driver.clone() }.into(), 183),
            (with("os", doc! { "name": "x" }.into()), 183),
            (with("driver", doc! { "version": "1" }.into()), 183),
            (with("driver", doc! { "name": "1" }.into()), 183),
            (with("driver", "x".into()), 14),
            (with("driver", doc! { "name": 1, "version": "1" }.into()), 14),
            (with("os", "x".into()), 14),
            (with("os", doc! { "type": 1 }.into()), 14),
            (with("application", "x".into()), 14),
            (with("application", doc! { "name": 1 }.into()), 14),
            (named(129), 184),
            (with("platform", "x".repeat(1025).into()), 185),
        ] {
            assert_eq!(read(client.clone()), Err(code), "{client}");
        }
    }
}
