"""workflow.yaml: from text with positions, through a validated model, to a plan of jobs. Pure: no containers, no store."""
