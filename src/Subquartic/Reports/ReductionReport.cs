using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>A head computed with a reduction and without it, all others in use.</summary>
/// <param name="Reduction">Its name in <see cref="LowRankReductions"/>.</param>
/// <param name="Head">What the head is like.</param>
/// <param name="Without">What low-rank attention found without it.</param>
/// <param name="With">What it found with it.</param>
/// <param name="PathWithout">How the head was computed without it.</param>
/// <param name="PathWith">How it was computed with it.</param>
/// <param name="ErrorBound">The certificate with it, in units of V, whose columns have a range of about 2.</param>
/// <param name="Error">The error with it, against exact attention in float32.</param>
public sealed record ReductionRow(
    string Reduction, string Head, LowRankDiagnosis Without, LowRankDiagnosis With, AttentionPath PathWithout, AttentionPath PathWith, double ErrorBound, double Error);

/// <summary>What each reduction of low-rank attention gains, on a head that has what it reduces.</summary>
/// <param name="Tokens">Queries and keys of a head.</param>
/// <param name="Tolerance">Largest error allowed, as a fraction of the range of V.</param>
/// <param name="Rows">One reduction each; the last is a head as wide as the decoder's.</param>
public sealed record ReductionReport(int Tokens, double Tolerance, IReadOnlyList<ReductionRow> Rows)
{
    /// <summary>Measures.</summary>
    /// <param name="kernels">Kernels of both ways.</param>
    /// <param name="tokens">Queries and keys of a head.</param>
    /// <param name="tolerance">Largest error allowed, as a fraction of the range of V.</param>
    /// <param name="cancellation">Stops between heads.</param>
    /// <returns>The report.</returns>
    public static ReductionReport Measure(KernelSet kernels, int tokens, double tolerance, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        LowRankReductions all = LowRankReductions.All;
        return new ReductionReport(tokens, tolerance,
        [
            Row(nameof(all.KeyCentring), "keys far from zero", all with { KeyCentring = false }, 8, (_, k) => Change(k, (_, l, x) => x + (3 * MathF.Cos(l)))),
            Row(nameof(all.QueryCentring), "queries around a mean", all with { QueryCentring = false }, 8, (q, _) => Change(q, (_, l, x) => x + (2 * MathF.Cos(l)))),
            Row(nameof(all.Rebalancing), "coordinates of different size", all with { Rebalancing = false }, 8, (q, k) =>
            {
                Change(q, (_, l, x) => x * MathF.ScaleB(1, 6 * l));
                Change(k, (_, l, x) => x * MathF.ScaleB(1, -6 * l));
            }),
            Row(nameof(all.Rotation), "two long directions across the axes", all with { Rotation = false, Projection = false }, 8, (q, k) =>
            {
                Change(q, (row, l, x) => Across(row, l, x));
                Change(k, (row, l, x) => Across(row, l, x));
            }),
            Row(nameof(all.Projection), "64 channels, 3 of them filled", all with { Projection = false }, 64, (q, k) => Flatten(q, k, 3)),
            Row(nameof(all.RowPolynomials), "queries of very different length", all with { RowPolynomials = false }, 8, (q, _) => Change(q, (row, _, x) => x * (row % 16 == 0 ? 1 : 0.3f))),
            Row(nameof(all.RowFallback), "one query in 100 is long", all with { RowFallback = false }, 8, (q, _) => Change(q, (row, _, x) => x * (row % 100 == 0 ? 40 : 1))),
            Row(nameof(all.OutlierKeys), "8 keys are far away", all with { OutlierKeys = false }, 8, (_, k) => Change(k, (row, _, x) => x * (row % (tokens / 8) == 0 ? 8 : 1))),
            Row("Projection, decoder", "640 channels, 4 of them filled", all with { Projection = false }, 640, (q, k) => Flatten(q, k, 4)),
        ]);

        ReductionRow Row(string name, string head, LowRankReductions without, int width, Action<Matrix, Matrix> spoil)
        {
            cancellation.ThrowIfCancellationRequested();
            using var memory = new FloatBuffer(5L * tokens * width);
            Matrix q = memory.Matrix(tokens, width), k = memory.Matrix(tokens, width, (long)tokens * width);
            Matrix v = memory.Matrix(tokens, width, 2L * tokens * width);
            Matrix exact = memory.Matrix(tokens, width, 3L * tokens * width), fast = memory.Matrix(tokens, width, 4L * tokens * width);
            var random = new Random(1);
            foreach (Matrix matrix in new[] { q, k, v })
            {
                foreach (ref float value in matrix.Span())
                {
                    value = (2 * random.NextSingle()) - 1;
                }
            }

            spoil(q, k);
            var input = new AttentionInput(Head(q), Head(k), Head(v), (float)(Math.Min(1, 8.0 / width) / 8));
            (LowRankDiagnosis found, Certificate certificate) = Attend(without);
            (LowRankDiagnosis better, Certificate with) = Attend(all);
            kernels.Attention(input.Queries, input.Keys, input.Values, input.Scale, Head(exact));
            double error = exact.Span().ToArray().Zip(fast.Span().ToArray(), (a, b) => Math.Abs((double)a - b)).Max();
            return new ReductionRow(name, head, found, better, certificate.Path, with.Path, with.ErrorBound, error);

            (LowRankDiagnosis Diagnosis, Certificate Certificate) Attend(LowRankReductions reductions)
            {
                using var attention = new LowRankAttention(kernels, new LowRankOptions { Tolerance = tolerance, Reductions = reductions });
                Certificate result = attention.Attend(input, Head(fast));
                return (attention.Diagnosis, result);
            }
        }
    }

    /// <summary>Cost of every head, with and without.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        $"Predicted time over that of exact attention, {Tokens} tokens, tolerance {Tolerance}",
        string.Join(", ", Rows.Select((row, i) => $"{i + 1} {row.Reduction}")),
        new ChartPanel("with all reductions", [.. Rows.Select((row, i) => (i + 1.0, row.With.Cost))]),
        new ChartPanel("without the one", [.. Rows.Select((row, i) => (i + 1.0, row.Without.Cost))]));

    private static HeadTensor Head(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    /// <summary>Two shared numbers along two vectors of signs, and little else.</summary>
    private static float Across(int row, int column, float x)
    {
        float first = MathF.Sin(row), second = MathF.Sin(2.3f * row);
        return (0.01f * x) + first + (column % 2 == 0 ? second : -second);
    }

    private static void Flatten(Matrix q, Matrix k, int directions)
    {
        // Each of few numbers goes into all channels with a sign of its own; the rest is small.
        foreach (Matrix matrix in new[] { q, k })
        {
            Change(matrix, (row, l, x) =>
            {
                float sum = 1e-3f * x / MathF.Sqrt(matrix.Columns);
                for (int p = 0; p < directions; p++)
                {
                    sum += MathF.Sin((row + 1) * (p + 1.37f) * (matrix.Offset == q.Offset ? 1 : 1.7f)) * (int.PopCount(l * 7919 >> p) % 2 == 0 ? 1 : -1) / 2;
                }

                return sum;
            });
        }
    }

    private static void Change(Matrix matrix, Func<int, int, float, float> change)
    {
        for (int i = 0; i < matrix.Rows; i++)
        {
            for (int l = 0; l < matrix.Columns; l++)
            {
                matrix.Row(i)[l] = change(i, l, matrix.Row(i)[l]);
            }
        }
    }
}
