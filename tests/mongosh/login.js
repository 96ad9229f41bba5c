// What a user that may only read is told; `wrong` and `unknown` are connection strings by which nobody logs in.
const { authInfo } = db.getSiblingDB('admin').runCommand({ connectionStatus: 1 });
const shore = db.getSiblingDB('shore');
const told = {
  users: authInfo.authenticatedUsers,
  roles: authInfo.authenticatedUserRoles,
  found: shore.birds.find().toArray().length,
};
// The shell awaits what stands here, but not what a callback returns.
try {
  told.denied = shore.birds.insertOne({});
} catch (error) {
  told.denied = [error.code, error.message];
}
try {
  told.wrong = connect(wrong);
} catch (error) {
  told.wrong = [error.code, error.message];
}
try {
  told.unknown = connect(unknown);
} catch (error) {
  told.unknown = [error.code, error.message];
}
told;
