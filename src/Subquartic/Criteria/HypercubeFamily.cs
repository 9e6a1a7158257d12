namespace Subquartic.Criteria;

/// <summary>The family of attention matrices with a spectrum in closed form: N = 2^m tokens, the rows of Q = K are R times all sign
/// vectors of length m, scores are divided by m. With R = c sqrt(m) = c sqrt(log2 N) it crosses the paper's threshold as c grows.</summary>
/// <remarks>exp(S) is a tensor power of a 2 x 2 matrix, with eigenvalues 2^m cosh(c^2)^(m-k) sinh(c^2)^k, C(m, k) of each, k = 0 … m.
/// If |A' - A| &lt;= eps A entry by entry, then A' is within eps |A| in the spectral norm, so every such A' has at least as many ranks as A
/// has eigenvalues above eps times the largest; multilinear monomials up to the degree where they fall below reach it.
/// Of order k (arXiv 2310.04064) the sign vectors stand in Q and in all k - 1 sets of keys, R = c (log2 N)^(1/k), and exp of the scores is an N x N^(k-1)
/// matrix: the products of keys run through all sign vectors equally often, so the same closed form gives its singular values, c^2 replaced by c^k.</remarks>
public static class HypercubeFamily
{
    /// <summary>Eigenvalues that are at least eps times the largest: sum of C(m, k) over the k with tanh(c^2)^k >= eps.</summary>
    /// <param name="bits">m = log2 N.</param>
    /// <param name="c">R over sqrt(log2 N).</param>
    /// <param name="epsilon">Relative accuracy.</param>
    /// <param name="order">k; c is R over (log2 N)^(1/k).</param>
    /// <returns>The rank.</returns>
    public static double Rank(int bits, double c, double epsilon, int order = 2)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bits, 1);
        double ratio = Math.Tanh(Math.Pow(c, order));
        double power = 1;
        double multiplicity = 1;
        double rank = 0;
        for (int k = 0; k <= bits && power >= epsilon; k++)
        {
            rank += multiplicity;
            multiplicity = Math.Round(multiplicity * (bits - k) / (k + 1));
            power *= ratio;
        }

        return rank;
    }

    /// <summary>What log_N of the rank tends to as N grows, at accuracy 1/N: the binary entropy of min(1/2, ln 2 / ln coth(c^2)).</summary>
    /// <param name="c">R over sqrt(log2 N), above 0.</param>
    /// <returns>The exponent, 1 from c = 0.5054 on. At fixed accuracy it would be 0 for every c.</returns>
    public static double LimitExponent(double c)
    {
        double p = Math.Min(0.5, Math.Log(2) / -Math.Log(Math.Tanh(c * c)));
        return -((p * Math.Log2(p)) + ((1 - p) * Math.Log2(1 - p)));
    }

    /// <summary>The eigenvalues of exp(S) over the largest, falling, found from the matrix itself.</summary>
    /// <param name="bits">m, 1 to 9: the work grows as 8^m.</param>
    /// <param name="c">R over sqrt(log2 N).</param>
    /// <returns>N = 2^m numbers.</returns>
    public static double[] MeasuredSpectrum(int bits, double c)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bits, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bits, 9);
        int size = 1 << bits;
        var matrix = new double[size, size];
        for (int i = 0; i < size; i++)
        {
            for (int j = 0; j < size; j++)
            {
                // <x, y> of two sign vectors is m minus twice the number of places in which they differ.
                matrix[i, j] = Math.Exp(c * c * (bits - (2 * int.PopCount(i ^ j))));
            }
        }

        double[] values = SymmetricEigenvalues.Of(matrix);
        double largest = values.Max();
        return [.. values.Select(value => value / largest).OrderDescending()];
    }

    /// <summary>The singular values of the N x N^(k-1) matrix of exp of the scores of order k over the largest, falling, found from the matrix
    /// itself by way of its Gram matrix, which keeps those above about 1e-7.</summary>
    /// <param name="bits">m; the work grows as 2^(m (k + 1)), which may be at most 2^26.</param>
    /// <param name="c">R over (log2 N)^(1/k).</param>
    /// <param name="order">k, 3 or more.</param>
    /// <returns>N = 2^m numbers.</returns>
    public static double[] MeasuredSpectrum(int bits, double c, int order)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bits, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(order, 3);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bits * (order + 1), 26, nameof(bits));
        int size = 1 << bits, mask = size - 1, columns = 1 << (bits * (order - 1));
        double theta = Math.Pow(c, order);
        var weights = new double[size, columns];
        for (int i = 0; i < size; i++)
        {
            for (int tuple = 0; tuple < columns; tuple++)
            {
                // The signs of an elementwise product are the exclusive or of the signs.
                int product = i;
                for (int rest = tuple; rest != 0; rest >>= bits)
                {
                    product ^= rest & mask;
                }

                weights[i, tuple] = Math.Exp(theta * (bits - (2 * int.PopCount(product))));
            }
        }

        var gram = new double[size, size];
        for (int i = 0; i < size; i++)
        {
            for (int j = 0; j < size; j++)
            {
                for (int tuple = 0; tuple < columns; tuple++)
                {
                    gram[i, j] += weights[i, tuple] * weights[j, tuple];
                }
            }
        }

        double[] squares = SymmetricEigenvalues.Of(gram);
        double largest = squares.Max();
        return [.. squares.Select(square => Math.Sqrt(Math.Max(0, square) / largest)).OrderDescending()];
    }
}
