//! The findings topic on a Kafka broker.
