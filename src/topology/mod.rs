//! The cluster as MongoDB's Server Discovery and Monitoring and Server Selection specifications see it.
