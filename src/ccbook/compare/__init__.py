"""The paper's numbers and sentences beside ours, with computed verdicts."""
