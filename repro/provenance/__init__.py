"""What happened, kept and asked: the journal is a sink of events, all else pure folds over it."""
