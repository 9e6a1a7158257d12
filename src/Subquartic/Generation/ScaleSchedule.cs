namespace Subquartic.Generation;

/// <summary>Size of a token map: h_k x w_k tokens.</summary>
/// <param name="Height">Rows.</param>
/// <param name="Width">Columns.</param>
public readonly record struct TokenMapSize(int Height, int Width)
{
    /// <summary>Tokens of the map, n_k = h_k w_k.</summary>
    public int Tokens => Height * Width;

    /// <summary>In which pass each token is drawn where the map is drawn in several, each of which sees the tokens of the passes before
    /// (<see cref="SamplingOptions.Passes"/>). The order is that of Bayer's 4 x 4 matrix: tokens of a pass lie far from each other and between those
    /// drawn before.</summary>
    /// <param name="passes">Number of passes, 1 to <see cref="SamplingOptions.MaxPasses"/>.</param>
    /// <returns>For each token, row by row, its pass from 0 on; passes that a small map would leave empty are left out.</returns>
    public int[] PassesOf(int passes)
    {
        int width = Width;
        int[] order = [.. Enumerable.Range(0, Tokens).Select(token => Place(token / width, token % width) * passes / SamplingOptions.MaxPasses)];
        int[] used = [.. order.Distinct().Order()];
        return [.. order.Select(pass => Array.IndexOf(used, pass))];

        static int Place(int y, int x) => (4 * Quarter(y, x)) + Quarter(y >> 1, x >> 1);
        static int Quarter(int y, int x) => (2 * ((y ^ x) & 1)) + (y & 1);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Height}x{Width}";
}

/// <summary>The token maps of next-scale prediction, coarse to fine: (h_1, w_1) … (h_K, w_K). VAR calls the sides patch
/// numbers.</summary>
public sealed class ScaleSchedule
{
    private readonly TokenMapSize[] _sizes;
    private readonly int[] _starts;

    /// <summary>Creates a schedule.</summary>
    /// <param name="sizes">The maps, first to last; at least one, each at least 1x1, none larger than the last in height or width.</param>
    /// <exception cref="ArgumentException">The sizes break one of these rules or hold more than 2^24 tokens.</exception>
    public ScaleSchedule(params IReadOnlyList<TokenMapSize> sizes)
    {
        ArgumentNullException.ThrowIfNull(sizes);
        if (sizes.Count == 0)
        {
            throw new ArgumentException("A scale schedule needs at least one token map.", nameof(sizes));
        }

        _sizes = [.. sizes];
        _starts = new int[sizes.Count + 1];
        TokenMapSize last = _sizes[^1];
        for (int k = 0; k < _sizes.Length; k++)
        {
            TokenMapSize size = _sizes[k];
            if (size.Height < 1 || size.Width < 1 || size.Height > last.Height || size.Width > last.Width)
            {
                throw new ArgumentException($"Token map {k} is {size}; every map must have at least 1x1 and at most {last} tokens.", nameof(sizes));
            }

            long end = _starts[k] + (long)size.Height * size.Width;
            if (end > 1 << 24)
            {
                throw new ArgumentException($"The schedule has more than {1 << 24} tokens.", nameof(sizes));
            }

            _starts[k + 1] = (int)end;
        }
    }

    /// <summary>The released models for 256 x 256 pixels: sides 1, 2, 3, 4, 5, 6, 8, 10, 13, 16; 680 tokens.</summary>
    public static ScaleSchedule Var256 { get; } = Square(1, 2, 3, 4, 5, 6, 8, 10, 13, 16);

    /// <summary>The released model for 512 x 512 pixels: sides 1, 2, 3, 4, 6, 9, 13, 18, 24, 32; 2240 tokens.</summary>
    public static ScaleSchedule Var512 { get; } = Square(1, 2, 3, 4, 6, 9, 13, 18, 24, 32);

    /// <summary>Number of scales, K.</summary>
    public int Count => _sizes.Length;

    /// <summary>Tokens of all scales, L_K.</summary>
    public int Tokens => _starts[^1];

    /// <summary>The last and largest map.</summary>
    public TokenMapSize Last => _sizes[^1];

    /// <summary>All maps, first to last.</summary>
    public IReadOnlyList<TokenMapSize> Sizes => _sizes;

    /// <summary>The map of one scale.</summary>
    /// <param name="scale">Index of the scale, 0 to K - 1.</param>
    public TokenMapSize this[int scale] => _sizes[scale];

    /// <summary>A schedule of square maps, as VAR's patch_nums.</summary>
    /// <param name="sides">Sides, first to last.</param>
    /// <returns>The schedule.</returns>
    /// <exception cref="ArgumentException">See the constructor.</exception>
    public static ScaleSchedule Square(params IReadOnlyList<int> sides) => new([.. sides.Select(side => new TokenMapSize(side, side))]);

    /// <summary>The pass of each token of each scale (<see cref="TokenMapSize.PassesOf"/>). The first scale has one: it takes no input that could show tokens to a second.</summary>
    /// <param name="passes">Passes of the scales.</param>
    internal int[][] PassesOf(ScaleValues passes) => [.. _sizes.Select((size, k) => size.PassesOf(k == 0 ? 1 : (int)passes[k]))];

    /// <summary>Tokens before a scale, L_(k-1): where it starts in a sequence of all scales.</summary>
    /// <param name="scale">Index of the scale, 0 to K; K gives all tokens.</param>
    /// <returns>The number of tokens.</returns>
    public int Start(int scale) => _starts[scale];

    /// <inheritdoc/>
    public override string ToString() => string.Join(' ', _sizes.Select(s => s.Height == s.Width ? $"{s.Height}" : s.ToString()));
}
