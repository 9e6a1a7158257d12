namespace Subquartic.Generation;

/// <summary>How a token is drawn from its logits. The defaults are those of <see cref="SamplingDefaults.Reference"/>.</summary>
public sealed record SamplingOptions
{
    /// <summary>The most likely token, always.</summary>
    public static SamplingOptions Greedy { get; } = new() { TopK = 1, TopP = 0 };

    /// <summary>Divides the logits; above 1 more varied, below 1 more typical images. Positive.</summary>
    public float Temperature { get; init; } = SamplingDefaults.Reference.Temperature;

    /// <summary>Temperature at the last scale, to which it goes evenly from <see cref="Temperature"/> at the first one; null keeps it. Positive. First scales decide what an
    /// image is, last ones its details: a falling temperature keeps the images varied and their details clean.</summary>
    public float? FinalTemperature { get; init; } = SamplingDefaults.Reference.FinalTemperature;

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
    public int Passes { get; init; } = SamplingDefaults.Reference.Passes;

    /// <summary>Whether a position gets a weighted mean of code vectors (Gumbel softmax) instead of one of them: smoother images of
    /// less detail, for looking at only (more_smooth in VAR models/var.py).</summary>
    public bool MoreSmooth { get; init; }

    /// <summary>The temperature at a scale.</summary>
    /// <param name="progress">s / (S - 1).</param>
    internal float TemperatureAt(float progress) => FinalTemperature is { } last ? Temperature + (progress * (last - Temperature)) : Temperature;

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(TopK);
        Positive(Temperature, nameof(Temperature));
        Positive(FinalTemperature ?? 1, nameof(FinalTemperature));

        if (Passes is < 1 or > MaxPasses || (Passes > 1 && MoreSmooth))
        {
            throw new ArgumentOutOfRangeException(
                nameof(Passes), Passes, $"There must be 1 to {MaxPasses} passes, and 1 where code vectors are mixed.");
        }

        if (TopP is not (>= 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(TopP), TopP, "Top-p must be in [0, 1].");
        }

        static void Positive(float value, string name)
        {
            if (!(value > 0) || !float.IsFinite(value))
            {
                throw new ArgumentOutOfRangeException(name, value, "A temperature must be positive and finite.");
            }
        }
    }
}
