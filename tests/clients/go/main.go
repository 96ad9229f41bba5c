// The official Go driver, directly or through Tidegate. Usage: URI SINGLE_URI DATABASE
//
// Prints one JSON line for each scenario, without what belongs to one run (ids, times), so that the lines of a direct run
// and of one through Tidegate can be compared. A scenario checks its own expectations, so that two equal failures are no
// pass.
package main

func main() {
	runAll([]scenario{
		{"insert, find, update, replace, delete", crud},
		{"find one and modify it", findOneAndModify},
		{"aggregation and distinct values", aggregation},
		{"ordered and unordered bulk writes", bulkWrites},
		{"indexes", indexes},
		{"collections and errors", collectionsAndErrors},
		{"a hundred operations at once over few connections", hundredAtOnce},
		{"a file goes up and comes down", files},
		{"cursors over many batches", manyBatches},
		{"cursors on every kind of node", everyKindOfNode},
		{"a cursor closed early is killed", closedEarly},
		{"tailable cursors wait for documents", tailable},
		{"change streams of a collection, a database and the set", changeStreams},
		{"a change stream resumes when its cursor is killed", streamResumes},
		{"a change stream is resumed by a token of another", streamResumedByToken},
		{"withTransaction commits all", transactionCommits},
		{"withTransaction retries a conflict", transactionRetries},
		{"transactions abort", transactionsAbort},
		{"cursors in a transaction", cursorsInTransaction},
		{"a causal session reads its writes on secondaries", causalSession},
		{"a snapshot session reads one moment", snapshotSession},
		{"the versioned API, strict, with deprecation errors", versionedAPI},
		{"compressors", compressors},
		{"options of the URI", uriOptions},
		{"directConnection=true", directConnection},
		{"the topology", topology},
		{"cursors and transactions over ever new connections", everNewConnections},
	})
}
