namespace Subquartic.Attention.Relative;

/// <summary>One entry of the relative matrices W_t, t = i - j.</summary>
/// <param name="Query">p: coordinate of the query it multiplies.</param>
/// <param name="Key">q: coordinate of the key it multiplies.</param>
/// <param name="Values">W_t[p, q] for t = -(N - 1) … N - 1, 2N - 1 numbers.</param>
public sealed record RelativeEntry(int Query, int Key, double[] Values);

/// <summary>Attention whose scores depend on query, key and distance: s_ij = Scale q_i^T W_(i-j) k_j + b_(i-j), the general form in which rotary
/// attention is analysed (Alman and Song, arXiv 2505.11892; Chen et al., arXiv 2412.17316), with an additive relative bias. Double precision.</summary>
/// <param name="Queries">Q (N, d).</param>
/// <param name="Keys">K (N, d).</param>
/// <param name="Values">V (N, d_v).</param>
/// <param name="Entries">The entries of W that are not zero everywhere.</param>
/// <param name="Bias">b_t, 2N - 1 numbers as the entries, or null.</param>
/// <param name="Scale">Factor on the products.</param>
public sealed record RelativeInput(
    double[,] Queries, double[,] Keys, double[,] Values, IReadOnlyList<RelativeEntry> Entries, double[]? Bias, double Scale)
{
    /// <summary>N.</summary>
    public int Tokens => Queries.GetLength(0);

    /// <summary>d_v.</summary>
    public int ValueWidth => Values.GetLength(1);

    /// <summary>Rotary attention over places 0 … N - 1 in this form: coordinates p and p + d/2 turn by t base^(-2p/d), W_t = R_(-t), 2d entries.</summary>
    /// <param name="queries">Q (N, d), d even.</param>
    /// <param name="keys">K (N, d).</param>
    /// <param name="values">V (N, d_v).</param>
    /// <param name="frequencyBase">The base.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <returns>The operands.</returns>
    public static RelativeInput Rotary(double[,] queries, double[,] keys, double[,] values, double frequencyBase, double scale)
    {
        ArgumentNullException.ThrowIfNull(queries);
        int tokens = queries.GetLength(0), half = queries.GetLength(1) / 2;
        var entries = new List<RelativeEntry>();
        for (int p = 0; p < half; p++)
        {
            double frequency = Math.Pow(frequencyBase, -(double)p / half);
            double[] cosines = [.. Enumerable.Range(1 - tokens, (2 * tokens) - 1).Select(t => Math.Cos(t * frequency))];
            double[] sines = [.. Enumerable.Range(1 - tokens, (2 * tokens) - 1).Select(t => Math.Sin(t * frequency))];
            entries.Add(new RelativeEntry(p, p, cosines));
            entries.Add(new RelativeEntry(p, p + half, sines));
            entries.Add(new RelativeEntry(p + half, p, [.. sines.Select(x => -x)]));
            entries.Add(new RelativeEntry(p + half, p + half, cosines));
        }

        return new RelativeInput(queries, keys, values, entries, null, scale);
    }

    /// <summary>Turns rows by their places, as <see cref="Rotary"/> does by distances.</summary>
    /// <param name="x">(N, d), d even.</param>
    /// <param name="frequencyBase">The base.</param>
    /// <returns>R_i x_i.</returns>
    public static double[,] Rotate(double[,] x, double frequencyBase)
    {
        ArgumentNullException.ThrowIfNull(x);
        var y = new double[x.GetLength(0), x.GetLength(1)];
        int half = x.GetLength(1) / 2;
        for (int i = 0; i < x.GetLength(0); i++)
        {
            for (int p = 0; p < half; p++)
            {
                (double sine, double cosine) = Math.SinCos(i * Math.Pow(frequencyBase, -(double)p / half));
                (y[i, p], y[i, p + half]) = ((x[i, p] * cosine) - (x[i, p + half] * sine), (x[i, p] * sine) + (x[i, p + half] * cosine));
            }
        }

        return y;
    }

    /// <summary>Refuses shapes that do not fit.</summary>
    /// <exception cref="ArgumentException">They do not.</exception>
    internal void Check()
    {
        int tokens = Tokens, width = Queries.GetLength(1), distances = (2 * tokens) - 1;
        if (tokens == 0 || Entries.Count == 0 || Keys.GetLength(0) != tokens || Keys.GetLength(1) != width || Values.GetLength(0) != tokens
            || Entries.Any(e => e.Values.Length != distances || e.Query < 0 || e.Query >= width || e.Key < 0 || e.Key >= width)
            || (Bias is not null && Bias.Length != distances))
        {
            throw new ArgumentException($"Relative attention of {tokens} tokens needs as many keys and values, and entries and biases of {distances} distances.");
        }
    }
}

/// <summary>Gradients of relative attention.</summary>
/// <param name="Queries">(N, d).</param>
/// <param name="Keys">(N, d).</param>
/// <param name="Values">(N, d_v).</param>
/// <param name="Entries">Of every entry of W, 2N - 1 numbers each.</param>
/// <param name="Bias">Of b, 2N - 1 numbers.</param>
public sealed record RelativeGradient(double[,] Queries, double[,] Keys, double[,] Values, IReadOnlyList<double[]> Entries, double[] Bias);
