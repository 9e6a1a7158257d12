using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;

namespace Subquartic.Attention.Relative;

/// <summary>The terms of a polynomial of relative scores: P(s_ij) exp(b_(i-j)) is the sum over alpha of
/// Coefficients * Queries_i * Distances_(i-j) * Keys_j, up to a factor that all pairs share.</summary>
internal sealed class RelativeTerms
{
    private readonly double[] _biasSums;
    private readonly int _tokens;

    public RelativeTerms(RelativeInput input, ExpPolynomial polynomial)
    {
        _tokens = input.Tokens;
        Polynomial = polynomial;
        Box = BoxOf(input);
        Basis = new MonomialBasis(input.Entries.Count, polynomial.Degree);
        Transform = new ToeplitzTransform(input.Tokens);
        double top = input.Bias?.Max() ?? 0;
        double[] biases = [.. Enumerable.Range(0, (2 * input.Tokens) - 1).Select(t => Math.Exp((input.Bias?[t] ?? 0) - top))];
        _biasSums = new double[biases.Length + 1];
        for (int t = 0; t < biases.Length; t++)
        {
            _biasSums[t + 1] = _biasSums[t] + biases[t];
        }

        // Entries as coordinates: keys and distances at most 1, queries with what is left.
        double[][] queries = new double[Basis.Width][], keys = new double[Basis.Width][], distances = new double[Basis.Width][];
        for (int e = 0; e < Basis.Width; e++)
        {
            RelativeEntry entry = input.Entries[e];
            double distanceScale = TensorShape.Normalizer(entry.Values.Max(Math.Abs));
            double keyScale = TensorShape.Normalizer(Enumerable.Range(0, _tokens).Max(j => Math.Abs(input.Keys[j, entry.Key])));
            queries[e] = [.. Enumerable.Range(0, _tokens).Select(i => input.Scale * input.Queries[i, entry.Query] / distanceScale / keyScale)];
            keys[e] = [.. Enumerable.Range(0, _tokens).Select(j => input.Keys[j, entry.Key] * keyScale)];
            distances[e] = [.. entry.Values.Select(w => w * distanceScale)];
        }

        double[] ones = [.. Enumerable.Repeat(1.0, _tokens)];
        Queries = Fill(queries, ones);
        Keys = Fill(keys, ones);
        Distances = Fill(distances, biases);
        Coefficients = new double[Basis.Count];
        for (int m = 0; m <= Basis.Degree; m++)
        {
            for (int alpha = Basis.Start(m); alpha < Basis.Start(m + 1); alpha++)
            {
                Coefficients[alpha] = polynomial.Coefficients[m] * Basis.Multiplicities[alpha];
            }
        }
    }

    public ExpPolynomial Polynomial { get; }

    public MonomialBasis Basis { get; }

    public ToeplitzTransform Transform { get; }

    /// <summary>Bound of the scores, biases aside.</summary>
    public double Box { get; }

    public double[] Coefficients { get; }

    public double[][] Queries { get; }

    public double[][] Keys { get; }

    public double[][] Distances { get; }

    public string Description =>
        FormattableString.Invariant($"degree {Basis.Degree}, {Basis.Count} Toeplitz terms of {Basis.Width} entries, scores within ±{Box:g3}");

    /// <summary>|Scale| max_i sum over entries of |q_ip| max|W| max|k_q|, a little enlarged; NaN or infinity when input is not finite.</summary>
    public static double BoxOf(RelativeInput input)
    {
        double box = 0;
        double[] reach = [.. input.Entries.Select(entry => entry.Values.Max(Math.Abs) * Enumerable.Range(0, input.Tokens).Max(j => Math.Abs(input.Keys[j, entry.Key])))];
        for (int i = 0; i < input.Tokens; i++)
        {
            double sum = 0;
            for (int e = 0; e < reach.Length; e++)
            {
                sum += Math.Abs(input.Scale * input.Queries[i, input.Entries[e].Query]) * reach[e];
            }

            box = Math.Max(box, sum);
        }

        return box * (1 + 1e-12);
    }

    /// <summary>sum_j exp(b_(i-j)) of a row, over the largest exp(b).</summary>
    public double BiasMass(int row) => (_biasSums[row + _tokens] - _biasSums[row]) * (1 + 1e-9);

    private double[][] Fill(double[][] coordinates, double[] constant)
    {
        var monomials = new double[Basis.Count][];
        monomials[0] = constant;
        for (int alpha = 1; alpha < monomials.Length; alpha++)
        {
            double[] parent = monomials[Basis.Parents[alpha]], axis = coordinates[Basis.Coordinates[alpha]];
            monomials[alpha] = [.. parent.Zip(axis, (x, y) => x * y)];
        }

        return monomials;
    }
}
