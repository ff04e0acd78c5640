"""The ground that methods learn on: policies, behaviour cloning, PPO, offline learners and offline data."""
