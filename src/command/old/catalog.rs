//! `system.indexes` and `system.namespaces`, which servers before 3.0 kept in every database, from what `listIndexes` and
//! `listCollections` say.
//!
//! Drivers read the indexes of a collection by its `ns`, and the names of collections with the database before them. They leave out
//! names with a `$`, which are the namespaces of indexes.

use bson::{Bson, Document, doc};

use super::whole;

/// A collection of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalog {
    /// `system.indexes`: a document for each index.
    Indexes,
    /// `system.namespaces`: a document for each collection and for each index.
    Namespaces,
}

impl Catalog {
    /// The collection of the catalog that has this name.
    #[must_use]
    pub fn of(collection: &str) -> Option<Self> {
        match collection {
            "system.indexes" => Some(Self::Indexes),
            "system.namespaces" => Some(Self::Namespaces),
            _ => None,
        }
    }

    /// The field that names what a document is about; a query for one value of it needs less of the catalog.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Indexes => "ns",
            Self::Namespaces => "name",
        }
    }
}

/// What to ask the nodes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One collection, whose name is known.
    One(String),
    /// All collections, but not their indexes.
    Names,
    /// All collections with their indexes.
    All,
    /// What is asked for cannot be there.
    Nothing,
}

/// What of the catalog of `database` a query needs that wants `key` (the value of [`Catalog::key`], if it wants just one).
#[must_use]
pub fn wanted(catalog: Catalog, database: &str, key: Option<&str>) -> Wanted {
    let Some(key) = key else { return Wanted::All };
    let collection = key.strip_prefix(database).and_then(|rest| rest.strip_prefix('.'));
    match (catalog, collection) {
        (_, None | Some("")) => Wanted::Nothing,
        (Catalog::Indexes, Some(collection)) => Wanted::One(collection.to_owned()),
        (Catalog::Namespaces, Some(name)) if name.contains(".$") => Wanted::All,
        (Catalog::Namespaces, Some(_)) => Wanted::Names,
    }
}

/// `listCollections` for all of a database.
#[must_use]
pub fn list_collections(database: &str) -> Document {
    doc! { "listCollections": 1, "cursor": whole::cursor(), "$db": database }
}

/// `listIndexes` for a collection.
#[must_use]
pub fn list_indexes(database: &str, collection: &str) -> Document {
    doc! { "listIndexes": collection, "cursor": whole::cursor(), "$db": database }
}

/// The names of the collections that may have indexes, from what `listCollections` said.
#[must_use]
pub fn with_indexes(collections: &[Document]) -> Vec<String> {
    let has_indexes = |entry: &&Document| !matches!(entry.get_str("type"), Ok("view"));
    let entries = collections.iter().filter(has_indexes);
    entries
        .filter_map(|entry| entry.get_str("name").ok())
        .map(str::to_owned)
        .collect()
}

/// The documents of `system.indexes` for one collection, from what `listIndexes` said. Since 4.4 that does not name the collection
/// any more; it stood behind the name.
#[must_use]
pub fn index_documents(database: &str, collection: &str, indexes: Vec<Document>) -> Vec<Document> {
    let ns = format!("{database}.{collection}");
    let old = |index: Document| {
        let mut document = Document::new();
        for (field, value) in index {
            let is_name = field == "name";
            if field != "ns" {
                document.insert(field, value);
            }
            if is_name {
                document.insert("ns", ns.clone());
            }
        }
        document
    };
    indexes.into_iter().map(old).collect()
}

/// The documents of `system.namespaces`, from what `listCollections` said, and the documents of `system.indexes`.
#[must_use]
pub fn namespace_documents(database: &str, collections: &[Document], indexes: &[Document]) -> Vec<Document> {
    let mut documents = Vec::with_capacity(collections.len() + indexes.len() + 1);
    for entry in collections {
        let Ok(name) = entry.get_str("name") else { continue };
        let mut document = doc! { "name": format!("{database}.{name}") };
        if let Ok(options) = entry.get_document("options")
            && !options.is_empty()
        {
            let mut old = doc! { "create": name };
            old.extend(options.clone().into_iter().filter(|(option, _)| option != "uuid"));
            document.insert("options", old);
        }
        documents.push(document);
    }
    if !documents.is_empty() {
        documents.push(doc! { "name": format!("{database}.system.indexes") });
    }
    for index in indexes {
        if let (Some(Bson::String(ns)), Some(Bson::String(name))) = (index.get("ns"), index.get("name")) {
            documents.push(doc! { "name": format!("{ns}.${name}") });
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indexes_name_their_collection_again() {
        let indexes = vec![
            doc! {"v": 2, "key": {"_id": 1}, "name": "_id_"},
            doc! {"v": 2, "unique": true, "key": {"a": 1}, "name": "a_1", "ns": "other", "sparse": true},
        ];
        let documents = index_documents("d", "c.x", indexes);
        assert_eq!(
            documents,
            [
                doc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "ns": "d.c.x"},
                doc! {"v": 2, "unique": true, "key": {"a": 1}, "name": "a_1", "ns": "d.c.x", "sparse": true},
            ]
        );
        assert_eq!(
            documents[1].keys().collect::<Vec<_>>(),
            ["v", "unique", "key", "name", "ns", "sparse"]
        );
    }

    #[test]
    fn namespaces_are_those_of_collections_and_of_indexes() {
        let collections = [
            doc! {"name": "c", "type": "collection", "options": {}},
            doc! {"name": "l", "type": "collection", "options": {"capped": true, "size": 4096}},
            doc! {"name": "v", "type": "view", "options": {"viewOn": "c"}},
        ];
        assert_eq!(with_indexes(&collections), ["c", "l"]);
        let indexes = index_documents("d", "c", vec![doc! {"key": {"_id": 1}, "name": "_id_"}]);
        assert_eq!(
            namespace_documents("d", &collections, &indexes),
            [
                doc! {"name": "d.c"},
                doc! {"name": "d.l", "options": {"create": "l", "capped": true, "size": 4096}},
                doc! {"name": "d.v", "options": {"create": "v", "viewOn": "c"}},
                doc! {"name": "d.system.indexes"},
                doc! {"name": "d.c.$_id_"},
            ]
        );
        assert!(namespace_documents("d", &[], &[]).is_empty());
    }

    #[test]
    fn no_more_is_asked_for_than_needed() {
        use Catalog::{Indexes, Namespaces};
        let one = |name: &str| Wanted::One(name.to_owned());
        let table = [
            (Indexes, None, Wanted::All),
            (Indexes, Some("d.c.x"), one("c.x")),
            (Indexes, Some("e.c"), Wanted::Nothing),
            (Indexes, Some("d."), Wanted::Nothing),
            (Namespaces, None, Wanted::All),
            (Namespaces, Some("d.c"), Wanted::Names),
            (Namespaces, Some("d.c.$a_1"), Wanted::All),
            (Namespaces, Some("c"), Wanted::Nothing),
        ];
        for (catalog, key, expected) in table {
            assert_eq!(wanted(catalog, "d", key), expected, "{catalog:?} {key:?}");
        }
        assert_eq!(Catalog::of("system.indexes"), Some(Indexes));
        assert_eq!(Catalog::of("system.users"), None);
    }

    proptest! {
        #[test]
        fn odd_catalogs_never_panic(field in "name|type|options|ns", value in any::<i32>()) {
            let odd = vec![doc! {field: value}];
            let _ = with_indexes(&odd);
            let indexes = index_documents("d", "c", odd.clone());
            let _ = namespace_documents("d", &odd, &indexes);
        }
    }
}
