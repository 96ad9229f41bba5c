//! An old server as the tests compare with it: a set of MongoDB 4.2.

use bson::doc;

use crate::support::old_set;

#[tokio::test]
async fn a_set_of_mongodb_4_2_is_there_to_compare_with() {
    let answer = old_set().command(0, doc! { "isMaster": 1 }).await.unwrap();
    assert_eq!(answer.get_i32("maxWireVersion").unwrap(), 8, "{answer}");
    assert!(answer.get_bool("ismaster").unwrap(), "{answer}");
}
