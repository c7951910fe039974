//! Finds plugins and knows what they have.
