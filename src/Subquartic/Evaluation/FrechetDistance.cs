using MathNet.Numerics.LinearAlgebra;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Evaluation;

/// <summary>The Fréchet distance between two sets of feature vectors, taken as normal distributions (Heusel et al. 2017): small where the sets look
/// alike in kind and in variety.</summary>
public static class FrechetDistance
{
    /// <summary>|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with means m and covariances S (divided by N - 1).</summary>
    /// <param name="a">(N1, D), one vector in each row; N1 at least 2.</param>
    /// <param name="b">(N2, D); N2 at least 2.</param>
    /// <returns>The distance in squared units of the features, 0 or more.</returns>
    /// <exception cref="ArgumentException">The widths differ, or a set has fewer than two vectors.</exception>
    public static double Between(Matrix a, Matrix b)
    {
        if (a.Columns != b.Columns || a.Rows < 2 || b.Rows < 2)
        {
            throw new ArgumentException($"({a.Rows}, {a.Columns}) and ({b.Rows}, {b.Columns}) features: the widths must agree, and each set needs two vectors.", nameof(b));
        }

        (Vector<double> mean1, Matrix<double> covariance1) = Moments(a);
        (Vector<double> mean2, Matrix<double> covariance2) = Moments(b);

        // (S1 S2)^(1/2) has the trace of (R S2 R)^(1/2) with R = S1^(1/2), which is symmetric: eigenvalues below 0 are rounding.
        var decomposition = covariance1.Evd(Symmetricity.Symmetric);
        Matrix<double> vectors = decomposition.EigenVectors;
        Matrix<double> root = vectors * Matrix<double>.Build.DiagonalOfDiagonalVector(decomposition.EigenValues.Map(Root)) * vectors.Transpose();
        Matrix<double> product = root * covariance2 * root;
        double common = ((product + product.Transpose()) / 2).Evd(Symmetricity.Symmetric).EigenValues.Sum(value => Root(value));
        return Math.Max(0, (mean1 - mean2).DotProduct(mean1 - mean2) + covariance1.Trace() + covariance2.Trace() - 2 * common);

        static double Root(System.Numerics.Complex value) => Math.Sqrt(Math.Max(0, value.Real));
    }

    private static (Vector<double> Mean, Matrix<double> Covariance) Moments(Matrix features)
    {
        Matrix<double> rows = Matrix<double>.Build.Dense(features.Rows, features.Columns, (i, j) => features.Row(i)[j]);
        Vector<double> mean = rows.ColumnSums() / features.Rows;
        Matrix<double> centred = Matrix<double>.Build.Dense(rows.RowCount, rows.ColumnCount, (i, j) => rows[i, j] - mean[j]);
        return (mean, centred.TransposeThisAndMultiply(centred) / (features.Rows - 1));
    }
}
