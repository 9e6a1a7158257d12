using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Kernels;

public class MonomialKernelsTests
{
    private const int T = MonomialKernels.Tokens;
    private const double Unit = 1.0 / (1 << 24);

    /// <summary>Widths, degrees and columns: whole tiles and parts of tiles of monomials.</summary>
    [Theory]
    [InlineData(1, 0, 3)]
    [InlineData(1, 5, 3)]
    [InlineData(3, 2, 6)]
    [InlineData(4, 4, 9)]
    public void Monomials_their_sums_and_their_polynomials_match_plain_loops(int width, int degree, int columns)
    {
        var basis = new MonomialBasis(width, degree);
        int padded = (basis.Count + MonomialKernels.FeatureTile - 1) / MonomialKernels.FeatureTile * MonomialKernels.FeatureTile;
        float[] coordinates = Random(1, width * T), values = Random(2, columns * T), moments = Random(3, basis.Count * columns);
        float[] coefficients = Random(4, (degree + 1) * T), features = new float[padded * T];
        MonomialKernels.Fill(basis.Runs, coordinates, features);
        var exact = new double[basis.Count, T];
        for (int alpha = 0; alpha < basis.Count; alpha++)
        {
            for (int t = 0; t < T; t++)
            {
                exact[alpha, t] = alpha == 0 ? 1 : exact[basis.Parents[alpha], t] * coordinates[(basis.Coordinates[alpha] * T) + t];
                Assert.InRange(Math.Abs(features[(alpha * T) + t] - exact[alpha, t]), 0, (degree + 1) * Unit * Math.Abs(exact[alpha, t]));
            }
        }

        var sums = new float[MonomialKernels.SumsLength(basis.Count, columns)];
        var total = new double[basis.Count * columns];
        MonomialKernels.Add(basis.Count, features, columns, values, sums);
        MonomialKernels.Add(basis.Count, features, columns, values, sums);
        MonomialKernels.Join(sums, basis.Count, columns, total);
        for (int alpha = 0; alpha < basis.Count; alpha++)
        {
            for (int c = 0; c < columns; c++)
            {
                (double sum, double size) = (0, 0);
                for (int t = 0; t < T; t++)
                {
                    double term = 2 * exact[alpha, t] * values[(c * T) + t];
                    (sum, size) = (sum + term, size + Math.Abs(term));
                }

                // A term passes the roundings of its monomial, 16 additions of its lane and 15 across lanes.
                Assert.InRange(Math.Abs(total[(alpha * columns) + c] - sum), 0, (degree + 32) * Unit * size);
            }
        }

        var result = new float[columns * T];
        Array.Fill(result, float.NaN);
        MonomialKernels.Evaluate(features, basis.Starts, moments, columns, coefficients, result);
        for (int t = 0; t < T; t++)
        {
            for (int c = 0; c < columns; c++)
            {
                (double sum, double size) = (0, 0);
                for (int m = 0; m <= degree; m++)
                {
                    for (int alpha = basis.Start(m); alpha < basis.Start(m + 1); alpha++)
                    {
                        double term = coefficients[(m * T) + t] * exact[alpha, t] * moments[(alpha * columns) + c];
                        (sum, size) = (sum + term, size + Math.Abs(term));
                    }
                }

                Assert.InRange(Math.Abs(result[(c * T) + t] - sum), 0, ((2 * degree) + basis.Count + 4) * Unit * size);
            }
        }
    }

    [Fact]
    public void Rows_go_into_lanes_and_back()
    {
        Matrix rows = GuardedMatrix.Random(new Random(5), 200, 13), back = GuardedMatrix.Create(200, 13);
        int[] indices = [.. Enumerable.Range(0, 101).Select(i => (i * 37) % 200)];
        var lanes = new float[13 * T];
        MonomialKernels.Gather(rows, indices, lanes);
        MonomialKernels.Scatter(lanes, indices, back);
        foreach ((int index, int lane) in indices.Select((index, lane) => (index, lane)))
        {
            Assert.Equal(rows.Row(index), back.Row(index));
            Assert.Equal(rows.Row(index)[12], lanes[(12 * T) + lane]);
        }

        Assert.Equal(0, lanes[(5 * T) + indices.Length]);
        GuardedMatrix.AssertIntact(back);
        Assert.Throws<ArgumentOutOfRangeException>(() => MonomialKernels.Gather(rows, [200], lanes));
        Assert.Throws<ArgumentOutOfRangeException>(() => MonomialKernels.Gather(rows, 190, 11, lanes));
    }

    [Theory]
    [InlineData(1, 3)]
    [InlineData(3, 3)]
    [InlineData(4, 6)]
    public void Columns_come_in_whole_tiles(int columns, int expected) => Assert.Equal(expected, MonomialKernels.WholeTiles(columns));

    private static float[] Random(int seed, int length)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => 2 * random.NextSingle() - 1)];
    }
}
