using System.Numerics.Tensors;

namespace Subquartic.Criteria;

/// <summary>The directions that matter most to products of queries and keys: the leading invariant subspace of C_k C_q, where C_k and C_q are the
/// second moments of centred keys and queries. Directions in which either side hardly varies come last.</summary>
/// <remarks>Subspace iteration with QR, which orders the directions too (Golub and Van Loan, section 7.3.2). Nothing depends on how well it
/// converges: the residual of a projection is measured, not assumed.</remarks>
public static class LeadingDirections
{
    private const int Iterations = 4;

    /// <summary>Finds directions.</summary>
    /// <param name="keys">Centred keys, (N, d).</param>
    /// <param name="queries">Centred queries, (M, d).</param>
    /// <param name="width">d.</param>
    /// <param name="count">p, at most d.</param>
    /// <returns>(p, d), orthonormal to a few roundings, or null when the input is not finite.</returns>
    public static double[]? Of(ReadOnlySpan<double> keys, ReadOnlySpan<double> queries, int width, int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, width);
        var directions = new double[count * width];
        var random = new Random(1);
        foreach (ref double value in directions.AsSpan())
        {
            value = random.NextDouble() - 0.5;
        }

        // Lengths do not matter, but their products must not overflow.
        double keyLength = TensorPrimitives.MaxMagnitude(keys), queryLength = TensorPrimitives.MaxMagnitude(queries);
        if (!double.IsFinite(keyLength) || !double.IsFinite(queryLength))
        {
            return null;
        }

        Orthonormalize(directions, width, count, random);
        var product = new double[count * width];
        for (int iteration = 0; iteration < Iterations; iteration++)
        {
            Multiply(queries, directions, width, product, 1 / Math.Max(queryLength * queryLength, 1e-300));
            Multiply(keys, product, width, directions, 1 / Math.Max(keyLength * keyLength, 1e-300));
            Orthonormalize(directions, width, count, random);
        }

        return directions.All(double.IsFinite) ? directions : null;
    }

    /// <summary>result = factor X^T X directions, direction by direction.</summary>
    private static void Multiply(ReadOnlySpan<double> rows, ReadOnlySpan<double> directions, int width, Span<double> result, double factor)
    {
        result.Clear();
        for (int start = 0; start < rows.Length; start += width)
        {
            ReadOnlySpan<double> row = rows.Slice(start, width);
            for (int p = 0; p < directions.Length; p += width)
            {
                double product = factor * TensorPrimitives.Dot(row, directions.Slice(p, width));
                TensorPrimitives.MultiplyAdd(row, product, result.Slice(p, width), result.Slice(p, width));
            }
        }
    }

    /// <summary>Gram-Schmidt, twice; a direction that vanishes is drawn again.</summary>
    private static void Orthonormalize(double[] directions, int width, int count, Random random)
    {
        for (int p = 0; p < count; p++)
        {
            Span<double> direction = directions.AsSpan(p * width, width);
            double length = Math.Sqrt(TensorPrimitives.SumOfSquares(direction));
            for (int attempt = 0; attempt < 50; attempt++)
            {
                if (!(length > 1e-200))
                {
                    foreach (ref double value in direction)
                    {
                        value = random.NextDouble() - 0.5;
                    }

                    length = Math.Sqrt(TensorPrimitives.SumOfSquares(direction));
                }

                TensorPrimitives.Divide(direction, length, direction);
                for (int pass = 0; pass < 2; pass++)
                {
                    for (int before = 0; before < p; before++)
                    {
                        ReadOnlySpan<double> other = directions.AsSpan(before * width, width);
                        TensorPrimitives.MultiplyAdd(other, -TensorPrimitives.Dot(direction, other), direction, direction);
                    }
                }

                length = Math.Sqrt(TensorPrimitives.SumOfSquares(direction));
                if (length > 1e-3)
                {
                    // Little was lost to the others, so what is left is orthogonal to them.
                    TensorPrimitives.Divide(direction, length, direction);
                    break;
                }

                // Nearly all was along the others: what is left is normalised and cleaned once more.
                length = length > 1e-13 ? length : 0;
            }
        }
    }
}
