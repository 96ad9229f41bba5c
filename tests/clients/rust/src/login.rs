//! What a user that may only read is told. Usage: login, a URI, the same with a wrong password, the same with an unknown user.

use std::error::Error;

use mongodb::{
    Client,
    bson::{Document, doc},
    error::ErrorKind,
};
use serde_json::{Value, json};

/// Prints what is told as one line of JSON.
pub(crate) async fn run(uris: &[String]) -> Result<(), Box<dyn Error>> {
    let client = Client::with_uri_str(&uris[0]).await?;
    let status = doc! { "connectionStatus": 1 };
    let status = client.database("admin").run_command(status).await?;
    let info = status.get_document("authInfo")?;
    let birds = |client: &Client| client.database("shore").collection::<Document>("birds");
    let mut found = birds(&client).find(doc! {}).await?;
    let mut count = 0;
    while found.advance().await? {
        count += 1;
    }
    let mut told = json!({
        "users": info.get_array("authenticatedUsers")?,
        "roles": info.get_array("authenticatedUserRoles")?,
        "found": count,
        "denied": refused(birds(&client).insert_one(doc! {}).await),
    });
    for (name, uri) in ["wrong", "unknown"].into_iter().zip(&uris[1..]) {
        let client = Client::with_uri_str(uri).await?;
        told[name] = refused(birds(&client).find_one(doc! {}).await);
    }
    println!("{told}");
    Ok(())
}

/// The code and the words. Of a failed login this driver tells the words only, and what kind of error it is.
fn refused<T>(outcome: mongodb::error::Result<T>) -> Value {
    let Err(error) = outcome else {
        return Value::Null;
    };
    match &*error.kind {
        ErrorKind::Command(command) => json!([command.code, command.message]),
        ErrorKind::Authentication { message, .. } => json!([18, message]),
        other => json!(other.to_string()),
    }
}
