using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports.Analysis;

/// <summary>The exact moves of a head that shrink its scores and leave its softmax alone (docs/theory.md, statement 6): keys by the middle of
/// their range, queries by their mean.</summary>
internal sealed class Centres
{
    /// <summary>Finds them.</summary>
    /// <param name="queries">Q (L, c).</param>
    /// <param name="keys">K (S, c).</param>
    /// <param name="scale">Factor on the scores.</param>
    public Centres(Matrix queries, Matrix keys, double scale)
    {
        int width = keys.Columns;
        double[] low = new double[width], high = new double[width], key = new double[width], query = new double[width];
        Array.Fill(low, double.PositiveInfinity);
        Array.Fill(high, double.NegativeInfinity);
        for (int j = 0; j < keys.Rows; j++)
        {
            ReadOnlySpan<float> row = keys.Row(j);
            for (int l = 0; l < width; l++)
            {
                low[l] = Math.Min(low[l], row[l]);
                high[l] = Math.Max(high[l], row[l]);
            }
        }

        for (int l = 0; l < width; l++)
        {
            key[l] = (low[l] + high[l]) / 2;
        }

        for (int i = 0; i < queries.Rows; i++)
        {
            ReadOnlySpan<float> row = queries.Row(i);
            for (int l = 0; l < width; l++)
            {
                query[l] += scale * row[l] / queries.Rows;
            }
        }

        double radius = 0;
        KeyOffsets = new double[keys.Rows];
        for (int j = 0; j < keys.Rows; j++)
        {
            ReadOnlySpan<float> row = keys.Row(j);
            double squares = 0;
            for (int l = 0; l < width; l++)
            {
                double moved = row[l] - key[l];
                KeyOffsets[j] += query[l] * moved;
                squares += moved * moved;
            }

            radius = Math.Max(radius, Math.Sqrt(squares));
        }

        QueryOffsets = new double[queries.Rows];
        for (int i = 0; i < queries.Rows; i++)
        {
            ReadOnlySpan<float> row = queries.Row(i);
            double squares = 0, box = 0;
            for (int l = 0; l < width; l++)
            {
                double moved = (scale * row[l]) - query[l];
                QueryOffsets[i] += scale * row[l] * key[l];
                squares += moved * moved;
                box += Math.Abs(moved) * (high[l] - low[l]) / 2;
            }

            HalfRange = Math.Max(HalfRange, Math.Min(box, Math.Sqrt(squares) * radius));
        }
    }

    /// <summary>scale q_i.c: what leaves the scores of a row when the keys move by c.</summary>
    public double[] QueryOffsets { get; }

    /// <summary>qbar.(k_j - c): what leaves the scores of a key when the queries move by qbar.</summary>
    public double[] KeyOffsets { get; }

    /// <summary>Over the rows, the smaller of box and Cauchy-Schwarz: no score exceeds it after both moves.</summary>
    public double HalfRange { get; }
}
