namespace Subquartic.Generation;

/// <summary>How a token is drawn from its logits. The defaults are those of <see cref="SamplingDefaults.Reference"/>.</summary>
public sealed record SamplingOptions
{
    /// <summary>The most likely token, always.</summary>
    public static SamplingOptions Greedy { get; } = new() { TopK = 1, TopP = 0 };

    /// <summary>Divides the logits; above 1 more varied, below 1 more typical images. Positive.</summary>
    public float Temperature { get; init; } = SamplingDefaults.Reference.Temperature;

    /// <summary>Keeps the k largest logits, and all that equal the k-th; 0 keeps all.</summary>
    public int TopK { get; init; } = SamplingDefaults.Reference.TopK;

    /// <summary>Then keeps the smallest set of likely tokens that holds this probability: tokens are removed, least likely first, while
    /// the removed ones together have at most 1 - TopP. 0 and 1 keep all.</summary>
    public float TopP { get; init; } = SamplingDefaults.Reference.TopP;

    /// <summary>Whether a position gets a weighted mean of code vectors (Gumbel softmax) instead of one of them: smoother images of
    /// less detail, for looking at only (more_smooth in VAR models/var.py).</summary>
    public bool MoreSmooth { get; init; }

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(TopK);
        if (!(Temperature > 0) || !float.IsFinite(Temperature))
        {
            throw new ArgumentOutOfRangeException(nameof(Temperature), Temperature, "The temperature must be positive and finite.");
        }

        if (TopP is not (>= 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(TopP), TopP, "Top-p must be in [0, 1].");
        }
    }
}
