namespace Subquartic.Generation;

/// <summary>How a token is drawn from its logits. The defaults are those of <see cref="SamplingDefaults.Reference"/>.</summary>
public sealed record SamplingOptions
{
    /// <summary>The most likely token, always.</summary>
    public static SamplingOptions Greedy { get; } = new() { TopK = 1, TopP = 0 };

    /// <summary>Divides the logits; above 1 more varied, below 1 more typical images. Positive. First scales decide what an image is, last ones its details: a
    /// temperature that falls from scale to scale keeps the images varied and their details clean.</summary>
    public ScaleValues Temperature { get; init; } = SamplingDefaults.Reference.Temperature;

    /// <summary>Keeps the k largest logits, and all that equal the k-th; 0 keeps all.</summary>
    public int TopK { get; init; } = SamplingDefaults.Reference.TopK;

    /// <summary>Then keeps the smallest set of likely tokens that holds this probability: tokens are removed, least likely first, while
    /// the removed ones together have at most 1 - TopP. 0 and 1 keep all.</summary>
    public float TopP { get; init; } = SamplingDefaults.Reference.TopP;

    /// <summary>Passes at most in which a map can be drawn.</summary>
    public const int MaxPasses = 16;

    /// <summary>In how many passes the tokens of a map are drawn, 1 to <see cref="MaxPasses"/>. In one, as the reference does, they are drawn independently of
    /// each other; in several, each pass draws a share of them and sees those of the passes before (as HMAR does, Kumbong et al., CVPR 2025). Takes a model that
    /// was trained for it (<see cref="Training.VarTrainer"/>), and as many times the transformer's work.</summary>
    public ScaleValues Passes { get; init; } = SamplingDefaults.Reference.Passes;

    /// <summary>Whether a position gets a weighted mean of code vectors (Gumbel softmax) instead of one of them: smoother images of
    /// less detail, for looking at only (more_smooth in VAR models/var.py).</summary>
    public bool MoreSmooth { get; init; }

    /// <summary>Checks the ranges.</summary>
    /// <param name="scales">Number of scales.</param>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    /// <exception cref="ArgumentException">A setting has neither one value nor one for each scale.</exception>
    public void Validate(int scales)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(TopK);
        Temperature.Require("temperature", scales, value => value > 0 && float.IsFinite(value), "positive and finite");
        Passes.Require(
            "number of passes", scales, value => value >= 1 && value <= (MoreSmooth ? 1 : MaxPasses) && value == (int)value,
            $"a whole number from 1 to {MaxPasses}, and 1 where code vectors are mixed");

        ((ScaleValues)TopP).Require("top-p", scales, value => value is >= 0 and <= 1, "in [0, 1]");
    }
}
