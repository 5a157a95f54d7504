//! Agents on nodes.
