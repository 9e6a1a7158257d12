namespace Subquartic.Training;

/// <summary>Settings that both stages share. Together with the data and the network they decide every bit of the result.</summary>
public sealed record TrainingOptions
{
    /// <summary>Pictures of one step.</summary>
    public int Batch { get; init; } = 16;

    /// <summary>Steps of the whole training; the learning rate falls towards its end.</summary>
    public long Steps { get; init; } = 10_000;

    /// <summary>Largest learning rate.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Learning rate at the end, as a fraction of the largest (VAR utils/lr_control.py, wpe).</summary>
    public double FinalRate { get; init; } = 0.01;

    /// <summary>Steps in which the learning rate rises from near 0.</summary>
    public long WarmUp { get; init; } = 200;

    /// <summary>Seed of weights, order of the pictures and dropout.</summary>
    public ulong Seed { get; init; }

    /// <summary>Settings of the optimiser.</summary>
    public AdamWOptions Optimizer { get; init; } = new();

    /// <summary>Steps of hidden matrices by <see cref="Training.Muon"/>; null leaves them to AdamW.</summary>
    public MuonOptions? Muon { get; init; }

    /// <summary>Share of the old in the running average of the weights, which is what is saved as the model; 0 saves the weights themselves.</summary>
    public double AverageDecay { get; init; } = 0.999;

    /// <summary>Learning rate of a step: linear rise, then a cosine fall to <see cref="FinalRate"/>.</summary>
    /// <param name="step">Steps already taken.</param>
    /// <returns>The rate.</returns>
    public double RateAt(long step)
    {
        if (step < WarmUp)
        {
            return LearningRate * (step + 1) / WarmUp;
        }

        double progress = Math.Clamp((double)(step - WarmUp) / Math.Max(1, Steps - WarmUp), 0, 1);
        return LearningRate * (FinalRate + (1 - FinalRate) * (1 + Math.Cos(Math.PI * progress)) / 2);
    }
}
