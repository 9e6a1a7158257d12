using System.Numerics;

namespace Subquartic.Attention.Relative;

/// <content>The gradient.</content>
public sealed partial class FourierRelativeAttention
{
    // Operands whose largest entry is 0 or between these: no product of a few of them leaves the range of double.
    private const double SmallestOperand = 1e-50, LargestOperand = 1e50;

    /// <summary>The gradient of sum(dOutput * O), the weights of exact attention replaced by the approximate ones f. With dS = f (dO V^T - r), r of
    /// the approximate output, every term of f W_(i-j) is again diagonal times Toeplitz times diagonal, so that dQ, dK and dV are products and the
    /// gradients of W and b correlations: terms times entries times (d_v + 1) transforms. Computed in full where <see cref="Attend"/> is.</summary>
    /// <remarks>
    /// <para><b>Statement.</b> Notation of the class; e = 2^-53, t the total variation tanh(…) of its statement, E = (1 + eps) exp(4 e box) - 1, G = dOutput,
    /// h_i = sum_c |G_ic| range_c, B_i = sum_j exp(b_(i-j)) over the largest exp(b), mu_i = min(1, exp(2 box)/B_i), rho = 2E/(1 - E) + t;
    /// u_ic the computed G_ic/D_i and, for c = d_v, -sum_c u_ic o_ic, V_(d_v) = 1, and du_ic what rounding may have done to it:
    /// |u_ic| (Ed_i/(D_i - Ed_i) + 4e), and for c = d_v the sum of |u_ic| (V_c (Ed_i/(D_i - Ed_i) + 4e) + Eo_ic + (d_v + 2) e (V_c + Eo_ic)), Eo_ic the rounding of an output.
    /// Let m = 3 g + r entries (d_v + 1) + d_v + 32, Z = gamma_m P_abs(box), and
    /// row_i = sum_c V_c (du_ic (D_i + Ed_i) + Z B_i |u_ic|), column_ic = du_ic (1 + eps) exp(box) + Z |u_ic|. Then, up to the errors of transforms,
    /// which are F |w|_2 |x|_2 of each product times the factors it meets,
    /// |dQ_ip| is wrong by sum over entries at p of |Scale| max|W| max|k| (3 t h_i + row_i);
    /// |dK_jq| by sum over entries at q of |Scale| max|W| S_p, S_p = sum_i |q_ip| (mu_i h_i rho + sum_c V_c column_ic);
    /// |dW_t| by |Scale| max|k| S_p, |db_t| by the same sum without q, |dV_jc| by sum_i (mu_i |G_ic| 2E/(1 - E) + column_ic); all times 1.01.</para>
    /// <para><b>Proof.</b> Truncation is that of <see cref="LowRankGradient"/>, where nothing was used of scores but their weights: with both rows of dS adding up to
    /// zero, sum_j |dS~ - dS| &lt;= 3 t h, and |dS~ - dS| &lt;= f h rho entry by entry, where f_ij &lt;= exp(2 box) exp(b)/B_i; the factors W k, W q, q k and 1 are at most
    /// their largest. Rounding: D~ is wrong by Ed, so G/D~ by a factor Ed/(D~ - Ed) of itself; for r add what rounding did to the outputs. A wrong u_ic meets
    /// weights exp(b) P(s), which are positive, add up to D_i over a row, and are at most (1 + eps) exp(box) each. Every other rounding, at most m on the way of a term,
    /// is relative to sums of absolute values, at most P_abs(box) exp(b) times the factors. Second-order terms are covered by 1.01. With operands in the range asked
    /// for, what underflows is below 2^-500 of the largest terms.</para>
    /// </remarks>
    /// <param name="input">The call.</param>
    /// <param name="dOutput">(N, d_v).</param>
    /// <param name="certificate">How it was computed, and how well.</param>
    /// <returns>The gradients.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public RelativeGradient Gradient(RelativeInput input, double[,] dOutput, out RelativeGradientCertificate certificate)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(dOutput);
        input.Check();
        if (dOutput.GetLength(0) != input.Tokens || dOutput.GetLength(1) != input.ValueWidth)
        {
            throw new ArgumentException("The gradient of the output does not have its shape.", nameof(dOutput));
        }

        if (Plan(input, out RelativeTerms? planned) is { } refusal)
        {
            certificate = new RelativeGradientCertificate(double.NaN, double.NaN, double.NaN, double.NaN, double.NaN, AttentionPath.Exact, refusal);
            return ReferenceRelativeAttention.Gradient(input, dOutput);
        }

        RelativeTerms terms = planned!;
        RelativeSums sums = Sum(input, terms);
        int tokens = input.Tokens, columns = input.ValueWidth;

        // Columns beside the values and the upstream gradient: 1, and -r; all of the latter over the denominators.
        double[][] values = [.. Enumerable.Range(0, columns + 1).Select(_ => new double[tokens])], upstream = [.. values.Select(_ => new double[tokens])];
        for (int i = 0; i < tokens; i++)
        {
            values[columns][i] = 1;
            for (int c = 0; c < columns; c++)
            {
                values[c][i] = input.Values[i, c];
                upstream[c][i] = dOutput[i, c] / sums.Denominators[i];
                upstream[columns][i] -= upstream[c][i] * sums.Output[i, c];
            }
        }

        RelativeGradient gradient = ReferenceRelativeAttention.Empty(input), errors = ReferenceRelativeAttention.Empty(input);
        double[] left = new double[tokens], right = new double[tokens], result = new double[tokens], distances = new double[(2 * tokens) - 1];
        double[] queryColumn = new double[tokens], keyColumn = new double[tokens];
        double factor = terms.Transform.ErrorFactor;
        for (int alpha = 0; alpha < terms.Basis.Count; alpha++)
        {
            double coefficient = terms.Coefficients[alpha];
            double[] a = terms.Queries[alpha], b = terms.Keys[alpha], w = terms.Distances[alpha];
            Complex[] transposed = terms.Transform.Prepare(w, transposed: true);
            double norm = Norm(w) * factor;
            for (int c = 0; c <= columns; c++)
            {
                Product(a, upstream[c], coefficient, left);
                Product(b, values[c], 1, right);
                Correlate(left, right, w, 1, gradient.Bias, errors.Bias);
                if (c < columns)
                {
                    terms.Transform.Multiply(transposed, left, [], result, []);
                    double error = norm * Norm(left);
                    for (int j = 0; j < tokens; j++)
                    {
                        gradient.Values[j, c] += b[j] * result[j];
                        errors.Values[j, c] += Math.Abs(b[j]) * error;
                    }
                }
            }

            for (int e = 0; e < input.Entries.Count; e++)
            {
                RelativeEntry entry = input.Entries[e];
                Product(w, entry.Values, input.Scale, distances);
                norm = Norm(distances) * factor;
                Complex[] forward = terms.Transform.Prepare(distances), backward = terms.Transform.Prepare(distances, transposed: true);
                for (int i = 0; i < tokens; i++)
                {
                    (queryColumn[i], keyColumn[i]) = (input.Queries[i, entry.Query], input.Keys[i, entry.Key]);
                }

                for (int c = 0; c <= columns; c++)
                {
                    Product(b, values[c], 1, right);
                    Product(right, keyColumn, 1, right);
                    terms.Transform.Multiply(forward, right, [], result, []);
                    double error = norm * Norm(right);
                    Product(a, upstream[c], coefficient, left);
                    for (int i = 0; i < tokens; i++)
                    {
                        gradient.Queries[i, entry.Query] += left[i] * result[i];
                        errors.Queries[i, entry.Query] += Math.Abs(left[i]) * error;
                    }

                    Product(left, queryColumn, 1, left);
                    Correlate(left, right, w, input.Scale, gradient.Entries[e], errors.Entries[e]);
                    terms.Transform.Multiply(backward, left, [], result, []);
                    error = norm * Norm(left);
                    for (int j = 0; j < tokens; j++)
                    {
                        gradient.Keys[j, entry.Key] += b[j] * values[c][j] * result[j];
                        errors.Keys[j, entry.Key] += Math.Abs(b[j] * values[c][j]) * error;
                    }
                }
            }
        }

        certificate = Certify(input, dOutput, terms, sums, upstream, errors);
        return gradient;

        void Correlate(double[] x, double[] y, double[] factors, double scale, double[] target, double[] wrong)
        {
            Array.Clear(distances);
            terms.Transform.Correlate(x, y, distances);
            double error = Norm(x) * Norm(y) * factor;
            for (int t = 0; t < target.Length; t++)
            {
                target[t] += distances[t] * factors[t] * scale;
                wrong[t] += Math.Abs(factors[t] * scale) * error;
            }
        }

        static void Product(double[] x, double[] y, double factor, double[] target)
        {
            for (int i = 0; i < target.Length; i++)
            {
                target[i] = x[i] * y[i] * factor;
            }
        }
    }

    /// <summary>The statement of <see cref="Gradient"/>.</summary>
    /// <param name="input">The call.</param>
    /// <param name="dOutput">G.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="sums">Outputs and denominators.</param>
    /// <param name="upstream">u, columns first.</param>
    /// <param name="transforms">What transforms did to the gradients.</param>
    private static RelativeGradientCertificate Certify(
        RelativeInput input, double[,] dOutput, RelativeTerms terms, RelativeSums sums, double[][] upstream, RelativeGradient transforms)
    {
        int tokens = input.Tokens, columns = input.ValueWidth;
        double[][] operands = [Flat(input.Queries), Flat(input.Keys), Flat(input.Values), Flat(dOutput), [input.Scale], .. input.Entries.Select(e => e.Values)];
        double epsilon = terms.Polynomial.Error, t = sums.Distance, combined = ((1 + epsilon) * Math.Exp(4 * UnitRoundoff * terms.Box)) - 1;
        bool certain = combined < 1 && operands.All(values => Largest(values) is 0 or (>= SmallestOperand and <= LargestOperand));
        double inWeight = 2 * combined / (1 - combined), rho = inWeight + t, heaviest = (1 + epsilon) * Math.Exp(terms.Box);
        double roundings = Gamma((3.0 * terms.Basis.Degree) + ((double)terms.Basis.Count * input.Entries.Count * (columns + 1)) + columns + 32)
            * terms.Polynomial.EvaluateAbsolute(terms.Box);
        double[] rows = new double[tokens], entries = new double[tokens], values = new double[columns];
        for (int i = 0; i < tokens; i++)
        {
            double error = sums.DenominatorErrors[i], left = sums.Denominators[i] - error, mass = terms.BiasMass(i);
            double relative = left > 0 ? (error / left) + (4 * UnitRoundoff) : double.PositiveInfinity;
            double range = 0, row = 0, entry = 0, alongError = 0, share = Math.Min(1, Math.Exp(2 * terms.Box) / mass * 1.001);
            for (int c = 0; c <= columns; c++)
            {
                double u = Math.Abs(upstream[c][i]), wrong = c < columns ? u * relative : alongError, largest = c < columns ? sums.Maxima[c] : 1;
                double column = (wrong * heaviest) + (roundings * u);
                row += largest * ((wrong * (sums.Denominators[i] + error)) + (roundings * mass * u));
                entry += largest * column;
                if (c < columns)
                {
                    alongError += u * ((largest * relative) + sums.OutputErrors[i, c] + ((columns + 2) * UnitRoundoff * (largest + sums.OutputErrors[i, c])));
                    range += Math.Abs(dOutput[i, c]) * sums.Ranges[c];
                    values[c] += (share * Math.Abs(dOutput[i, c]) * inWeight) + column;
                }
            }

            rows[i] = (3 * t * range) + row;
            entries[i] = (share * range * rho) + entry;
        }

        double queries = 0, keys = 0, distances = 0;
        double[] queryReach = new double[input.Queries.GetLength(1)], keyReach = new double[queryReach.Length];
        for (int e = 0; e < input.Entries.Count; e++)
        {
            RelativeEntry entry = input.Entries[e];
            double scale = Math.Abs(input.Scale), distance = Largest(entry.Values), key = 0, sum = 0;
            for (int i = 0; i < tokens; i++)
            {
                key = Math.Max(key, Math.Abs(input.Keys[i, entry.Key]));
                sum += Math.Abs(input.Queries[i, entry.Query]) * entries[i];
            }

            queryReach[entry.Query] += scale * distance * key;
            keyReach[entry.Key] += scale * distance * sum;
            distances = Math.Max(distances, (scale * key * sum) + Largest(transforms.Entries[e]));
        }

        for (int l = 0; l < queryReach.Length; l++)
        {
            for (int i = 0; i < tokens; i++)
            {
                queries = Math.Max(queries, (queryReach[l] * rows[i]) + transforms.Queries[i, l]);
                keys = Math.Max(keys, keyReach[l] + transforms.Keys[i, l]);
            }
        }

        double value = values.Max() + Largest(Flat(transforms.Values));
        return new RelativeGradientCertificate(
            Finish(queries), Finish(keys), Finish(value), Finish(distances), Finish(entries.Sum() + Largest(transforms.Bias)), AttentionPath.LowRank, terms.Description);

        double Finish(double bound) => certain && bound < double.MaxValue ? (1.01 * bound) + double.Epsilon : double.PositiveInfinity;

        static double[] Flat(double[,] matrix) => [.. matrix.Cast<double>()];

        static double Largest(double[] x) => x.Max(Math.Abs);
    }
}
