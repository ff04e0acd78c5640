"""DeepRole for Avalon: counterfactual regret minimisation over beliefs, with a value network at its horizon."""
