"""workflow.yaml: from text with positions, through a validated model, to a plan of jobs. No containers, no store."""
