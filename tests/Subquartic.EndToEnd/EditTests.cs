using System.Text.Json;
using Subquartic.Imaging;

namespace Subquartic.EndToEnd;

public sealed class EditTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    public EditTests()
    {
        var picture = new RgbImage(80, 100);
        for (int y = 0; y < 80; y++)
        {
            for (int x = 0; x < 100; x++)
            {
                new byte[] { (byte)(2 * x), (byte)(3 * y), (byte)(x * y / 40) }.CopyTo(picture[y, x]);
            }
        }

        ImageFile.Save(picture, _program.At("photo.png"));
        var mask = new RgbImage(80, 100);
        for (int y = 20; y < 60; y++)
        {
            mask.Row(y).Slice(3 * 30, 3 * 40).Fill(255);
        }

        ImageFile.Save(mask, _program.At("mask.png"));
    }

    [Fact]
    public void A_box_and_the_same_mask_give_the_same_picture_and_the_outside_another()
    {
        _program.Succeed("edit", "photo.png", "--box", "30,20,40,40", "--class", "2", "--out", "box");
        _program.Succeed("edit", "photo.png", "--mask", "mask.png", "--class", "2", "--out", "mask");
        _program.Succeed("edit", "photo.png", "--box", "30,20,40,40", "--outside", "--class", "2", "--out", "outside");
        byte[] Picture(string folder) => File.ReadAllBytes(_program.At(folder, "000-butterfly.png"));
        Assert.Equal(Picture("box"), Picture("mask"));
        Assert.NotEqual(Picture("box"), Picture("outside"));
    }

    [Fact]
    public void Kept_tokens_are_those_of_the_reconstruction()
    {
        int[] Tokens(JsonElement json) => [.. json.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt32())];
        int[] whole = Tokens(_program.Succeed("reconstruct", "photo.png", "--out", "back.png", "--strip", "scales.png", "--json").Json());
        int[] edited = Tokens(_program.Succeed("edit", "photo.png", "--mask", "mask.png", "--json").Json().GetProperty("pictures")[0]);
        Assert.Equal(whole.Length, edited.Length);
        // The hole covers rows 4 to 11 of the last 16 x 16 map, so the first and the last row of it are kept.
        Assert.Equal(whole[^256..^240], edited[^256..^240]);
        Assert.Equal(whole[^16..], edited[^16..]);
        Assert.NotEqual(whole, edited);
        Assert.Equal((64, 64), (ImageFile.Load(_program.At("back.png")).Height, ImageFile.Load(_program.At("back.png")).Width));
        Assert.Equal(8 * 64 + 7 * 2, ImageFile.Load(_program.At("scales.png")).Width);
    }

    public void Dispose() => _program.Dispose();
}
