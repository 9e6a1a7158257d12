namespace Subquartic.Criteria;

/// <summary>Match-3: for every token i, are there j1 and j2 with x_i + x_j1 + x_j2 = 0 mod M (repetitions allowed)? One layer of ordinary
/// attention needs width, heads or precision that grow about linearly with the number of tokens (Sanford, Hsu and Telgarsky 2023); one
/// unit of third-order attention of five columns decides it.</summary>
/// <remarks>With angles a = 2 pi x/M, cos(a + b + c) is a sum of four products of one function of each, so that it is a trilinear score; a null
/// token in both sets of keys has a score between 1, the score of a match, and that of the nearest miss. The output exceeds 1/2 exactly where a
/// match exists: scores beta cos(a + b + c) with beta = max(2 ln(4 N^2)/gap, ln(8 N) + 1/2), gap = 1 - cos(2 pi/M), put a match at 2/3 or more
/// and a miss at 1/5 or less (tested over M and N). beta grows as M^2 log N: such entries are far beyond what fast algorithms can serve.</remarks>
public sealed class Match3Family
{
    private readonly int[] _tokens;

    /// <summary>Draws an instance.</summary>
    /// <param name="tokens">N, at least 1.</param>
    /// <param name="modulus">M, at least 3.</param>
    /// <param name="seed">Seed of the tokens, uniform in 0 … M - 1.</param>
    public Match3Family(int tokens, int modulus, int seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(modulus, 3);
        var random = new Random(seed);
        _tokens = [.. Enumerable.Range(0, tokens).Select(_ => random.Next(modulus))];
        Modulus = modulus;
        Gap = 1 - Math.Cos(2 * Math.PI / modulus);
        Beta = Math.Max(2 * Math.Log(4.0 * tokens * tokens) / Gap, Math.Log(8.0 * tokens) + 0.5);
    }

    /// <summary>x_1 … x_N.</summary>
    public IReadOnlyList<int> Tokens => _tokens;

    /// <summary>M.</summary>
    public int Modulus { get; }

    /// <summary>Distance between the scores of a match and of the nearest miss, over beta.</summary>
    public double Gap { get; }

    /// <summary>beta, the largest score.</summary>
    public double Beta { get; }

    /// <summary>The operands of third-order attention, one output column.</summary>
    /// <param name="strength">Factor on beta; below 1 the answers are no longer promised.</param>
    /// <returns>The operands.</returns>
    public TensorProblem Problem(double strength = 1)
    {
        int count = _tokens.Length;
        double[,] queries = new double[count, 5], first = new double[count + 1, 5], second = new double[count + 1, 5], values = new double[count + 1, 1];
        for (int i = 0; i < count; i++)
        {
            (double sine, double cosine) = Math.SinCos(2 * Math.PI * _tokens[i] / Modulus);
            Set(queries, i, Beta * strength, cosine, -cosine, -sine, -sine, 1 - (Gap / 2));
            Set(first, i, 1, cosine, sine, cosine, sine, 0);
            Set(second, i, 1, cosine, sine, sine, cosine, 0);
            values[i, 0] = 1;
        }

        first[count, 4] = second[count, 4] = 1;
        return new TensorProblem(queries, [first, second], [values, values]);

        static void Set(double[,] matrix, int row, double factor, params ReadOnlySpan<double> values)
        {
            for (int l = 0; l < values.Length; l++)
            {
                matrix[row, l] = factor * values[l];
            }
        }
    }

    /// <summary>The true answers, by trying all pairs.</summary>
    /// <returns>For every token whether a match exists.</returns>
    public bool[] Answers() => [.. _tokens.Select(x => _tokens.Any(y => _tokens.Any(z => (x + y + z) % Modulus == 0)))];

    /// <summary>How many answers an output gives rightly.</summary>
    /// <param name="output">(N, 1).</param>
    /// <returns>A share, 0 to 1.</returns>
    public double Accuracy(double[,] output)
    {
        ArgumentNullException.ThrowIfNull(output);
        bool[] answers = Answers();
        return Enumerable.Range(0, answers.Length).Average(i => output[i, 0] > 0.5 == answers[i] ? 1.0 : 0);
    }
}
