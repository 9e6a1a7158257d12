using Subquartic.Numerics.Tensors;

namespace Subquartic.Generation;

/// <summary>What to draw and how.</summary>
public sealed record GenerationRequest
{
    /// <summary>The class of each image; one image is drawn for each entry. The number of classes stands for "no class".</summary>
    public required IReadOnlyList<int> Labels { get; init; }

    /// <summary>Seed of the random numbers. Image i depends on the seed, its index and its class only, not on the batch.</summary>
    public ulong Seed { get; init; }

    /// <summary>Index of the first image: with n, the images are those a request from 0 would give from place n on.</summary>
    public int FirstIndex { get; init; }

    /// <summary>Strength of the classifier-free guidance: one number is that at the last scale, to which it grows from 0 at the first one; several are those of each scale. 0 turns
    /// it off and halves the work.</summary>
    public ScaleValues Guidance { get; init; } = SamplingDefaults.Reference.Guidance;

    /// <summary>Whether any scale is guided.</summary>
    internal bool IsGuided => !Guidance.All(value => value == 0);

    /// <summary>How tokens are drawn.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Candidates of a picture at most.</summary>
    public const int MaxCandidates = 64;

    /// <summary>How many beginnings of each picture are drawn, of which the model's <see cref="Critic"/> chooses the one that is finished, 1 to
    /// <see cref="MaxCandidates"/>. 1 draws one and needs no critic.</summary>
    public int Candidates { get; init; } = 1;

    /// <summary>Whether every scale but the last also gets a picture, decoded at the scale's own size (16 pixels for each token).</summary>
    public bool Previews { get; init; }

    /// <summary>Whether images also come as float values.</summary>
    public bool KeepPixels { get; init; }

    /// <summary>Tokens given beforehand.</summary>
    internal KeptTokens? Kept { get; init; }

    /// <summary>Exponential variates (images * L, V), image after image, instead of random numbers; absent when its buffer is null.</summary>
    internal Matrix RecordedNoise { get; init; }
}

/// <summary>Tokens that are not drawn but given.</summary>
/// <param name="Tokens">For each image L token ids, scale after scale; one set of them stands for all images.</param>
/// <param name="Keep">For each place, whether its token is given.</param>
internal sealed record KeptTokens(int[][] Tokens, bool[] Keep)
{
    /// <summary>The tokens of an image of the request.</summary>
    public int[] Of(int image) => Tokens.Length == 1 ? Tokens[0] : Tokens[image];
}
