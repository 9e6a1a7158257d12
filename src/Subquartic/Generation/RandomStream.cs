namespace Subquartic.Generation;

/// <summary>The random numbers of one token, one for each code: number v is a hash of (seed, image, candidate, scale, token, v), so it depends on
/// neither the batch nor the order in which tokens are drawn.</summary>
internal readonly struct RandomStream
{
    private readonly ulong _start;

    /// <summary>The stream of one token.</summary>
    /// <param name="seed">Seed of the generation.</param>
    /// <param name="image">Index of the image in it.</param>
    /// <param name="scale">Index of the scale.</param>
    /// <param name="token">Index of the token in its map.</param>
    /// <param name="candidate">Which of the beginnings of the image; 0 where there is one only.</param>
    public RandomStream(ulong seed, int image, int scale, int token, int candidate = 0)
    {
        ulong start = SplitMix64.Mix(seed + SplitMix64.Step);
        start = SplitMix64.Mix((start ^ ((ulong)(uint)candidate << 32) ^ (uint)image) + SplitMix64.Step);
        start = SplitMix64.Mix((start ^ (uint)scale) + SplitMix64.Step);
        _start = SplitMix64.Mix((start ^ (uint)token) + SplitMix64.Step);
    }

    /// <summary>Number <paramref name="index"/> of the stream: uniform in (0, 1), both ends excluded.</summary>
    public double Uniform(int index) => ((SplitMix64.Mix(_start + SplitMix64.Step * ((ulong)(uint)index + 1)) >> 11) + 0.5) * (1.0 / (1UL << 53));
}
